"""Whether a model can read the columns of a data set: what the caller made is looked at before the first step."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from torch import nn

from edgekd.distill.arrow import list_lengths
from edgekd.distill.collate import LABELS
from edgekd.errors import DataError

TOKENS = "input_ids"
ROWS_AT_ONCE = 10_000


def check_columns(model: Any, rows: datasets.Dataset, name: str) -> None:
    """Refuse columns that are no numbers or lack some, and tokens or lengths that `model` does not know.

    `name` says in messages which data set it is. Errors: DataError.
    """
    for column in rows.column_names:
        dtype = str(getattr(_innermost(rows.features[column]), "dtype", "nothing"))
        if not dtype.startswith(("int", "uint", "float", "bool")):
            raise DataError(f"{name}: the column {column!r} holds {dtype}, expected numbers. Encode or remove it")
        if any(_lacks(table[column]) for table in _tables(rows, column)):
            raise DataError(f"{name}: the column {column!r} lacks a number (None), expected one in each row")
    if TOKENS in rows.column_names:
        _check_tokens(model, rows, name)


def _innermost(feature: Any) -> Any:
    while (inner := getattr(feature, "feature", None)) is not None:
        feature = inner
    return feature


def _tables(rows: datasets.Dataset, column: str) -> Any:
    return rows.select_columns([column]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE)


def _lacks(column: Any) -> bool:
    """Whether a row is None, or a number inside of one."""
    values = column.combine_chunks()
    while not isinstance(values, pa.ExtensionArray):
        if values.null_count:
            return True
        if not pa.types.is_nested(values.type):
            return False
        values = values.flatten()
    return bool(values.null_count)


def _check_tokens(model: Any, rows: datasets.Dataset, name: str) -> None:
    asked = getattr(model, "get_input_embeddings", None)
    table = None if asked is None else asked()
    known = table.num_embeddings if isinstance(table, nn.Embedding) else None
    most = _positions(getattr(model, "config", None))
    for part in _tables(rows, TOKENS):
        longest = int(list_lengths(part[TOKENS]).max())
        if most is not None and longest > most:
            raise DataError(f"{name}: found a row of {longest} tokens, expected at most {most}, as the model reads")
        ends = pc.min_max(part[TOKENS].combine_chunks().flatten())
        least, last = ends["min"].as_py(), ends["max"].as_py()
        if known is not None and least is not None and (least < 0 or last >= known):
            raise DataError(
                f"{name}: found tokens {least} to {last}, expected 0 to {known - 1}, as many as the model knows. Use "
                "the tokenizer of the model"
            )


def _positions(config: Any) -> int | None:
    """How many tokens a model reads at most; None where it has no table of positions, or we do not know it."""
    kind = getattr(config, "model_type", None)
    if kind == "gpt2":
        return int(config.n_positions)
    if kind not in ("bert", "roberta"):
        return None
    # RoBERTa never uses the positions up to its padding token.
    return int(config.max_position_embeddings) - (config.pad_token_id + 1 if kind == "roberta" else 0)


def check_labels_column(rows: datasets.Dataset, name: str, *, whole: bool) -> None:
    """Refuse a data set without a column `labels`, or, where they are to be `whole`, with fractions there.

    Errors: DataError.
    """
    if LABELS not in rows.column_names:
        raise DataError(f"{name}: has no column {LABELS!r}, found {', '.join(rows.column_names) or 'none'}")
    dtype = np.dtype(str(_innermost(rows.features[LABELS]).dtype))
    if whole and not np.issubdtype(dtype, np.integer):
        raise DataError(f"{name}: the column {LABELS!r} holds {dtype}, expected whole numbers, those of classes")
