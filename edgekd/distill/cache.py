"""The teacher's answers, computed once and kept on disk: every student and every epoch reads them from there.

One folder per content key, with the files of edgekd.distill.shard_files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from edgekd.distill import processes
from edgekd.distill.arrow import flat_values, stream_bytes, table_of_rows
from edgekd.distill.collate import ROW, TEACHER_LOGITS
from edgekd.distill.columns import check_columns
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.fingerprint import dataset_hash, weights_hash
from edgekd.distill.quiet import silent_libraries
from edgekd.distill.shard_files import OnRows, Plan, Shard, damaged, shard_files, usual_shard_rows
from edgekd.errors import DataError
from edgekd.files import content_hash, sha256_of_bytes

FORMAT = 1
PROBES = 8
# A probe is recomputed alone, on perhaps another processor: rounding differs, a wrong row differs far more.
PROBE_TOLERANCE = 1.0e-2

Rows = NDArray[Any] | list[NDArray[Any]]  # [rows, ...], or a flat array for each row
Columns = dict[str, Rows]


@dataclass(frozen=True)
class Question:
    """What a teacher is asked for: the `columns` that `ask` gives for a model, rows, a batch size and a padding token.

    `identity` tells the answers to one question from those to another, about the same rows. `alike` is whether answers
    that were stored are those that a model gives now, but for rounding.

    Shapes: every column is [rows, ...], the same ... for all rows of a data set; or a list of flat arrays, one for each
    row, which may differ in length.
    """

    columns: tuple[str, ...]
    ask: Callable[[Any, datasets.Dataset, int, int | None], Columns]
    identity: Mapping[str, Any] = field(default_factory=dict)
    alike: Callable[[Columns, Columns], bool] = lambda stored, fresh: all(near(stored[n], fresh[n]) for n in fresh)


def near(stored: Rows, fresh: Rows) -> bool:
    """Whether numbers computed again are those that were stored. Shapes: the same."""
    if isinstance(stored, list) or isinstance(fresh, list):
        return len(stored) == len(fresh) and all(near(one, other) for one, other in zip(stored, fresh, strict=True))
    return stored.shape == fresh.shape and np.allclose(stored, fresh, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE)


def _logits(model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None) -> Columns:
    return {TEACHER_LOGITS: predict_logits(model, dataset, batch_size, pad_token_id)}


LOGITS = Question((TEACHER_LOGITS,), _logits)


def cached_logits(model: Any, dataset: datasets.Dataset, folder: Path, **options: Any) -> datasets.Dataset:
    """`dataset` with a column `teacher_logits`, the logits of `model` for the example of the same `row`.

    Options and errors: as cached_answers.
    """
    return cached_answers(model, dataset, folder, LOGITS, **options)


def cached_answers(
    model: Any,
    dataset: datasets.Dataset,
    folder: Path,
    question: Question,
    *,
    key: str | None = None,
    batch_size: int,
    pad_token_id: int | None = None,
    shard_rows: int | None = None,
    on_rows: OnRows | None = None,
) -> datasets.Dataset:
    """`dataset` with the columns of `question`, the answers of `model` about the example of the same `row`.

    `key` names the content of the data set; without one it is computed. Under `folder` every combination of weights,
    key, set of rows and question has its own cache. `on_rows` is told the rows done and the rows in all after each
    shard of `shard_rows` rows.

    Several processes all call this, with a `folder` that all of them see: each asks the teacher about its share of what
    is missing, and all read the whole.

    Errors: DataError when `row` is missing or not unique; RecordError when the cache on disk is damaged or does not
    agree with the model; TrainingError when the teacher answers NaN; InputError when processes were given different
    things.
    """
    with silent_libraries():
        kept = kept_answers(
            model, dataset, folder, question, key=key, batch_size=batch_size, pad_token_id=pad_token_id,
            shard_rows=shard_rows, on_rows=on_rows,
        )  # fmt: skip
        answers = _aligned(_read_cache(kept, question), kept)

        def stored(picked: list[int], fresh: Columns) -> Columns:
            cells = answers.select(picked)
            return {name: _like(cells, name, fresh[name]) for name in question.columns}

        check_probes(model, dataset, kept, question, pad_token_id, stored)
        plain = dataset.remove_columns([name for name in question.columns if name in dataset.column_names])
        return datasets.concatenate_datasets([plain, answers.remove_columns(ROW)], axis=1)


@dataclass(frozen=True)
class Kept:
    """The files of a cache in the folder `home`, with the answers about the rows numbered `rows` of a data set.

    `weights` are those of the model that gave them. Shapes: rows [rows of the data set].
    """

    home: Path
    weights: str
    rows: NDArray[np.int64]
    files: list[Path]


def kept_answers(
    model: Any,
    dataset: datasets.Dataset,
    folder: Path,
    question: Question,
    *,
    key: str | None,
    batch_size: int,
    pad_token_id: int | None,
    shard_rows: int | None,
    on_rows: OnRows | None,
) -> Kept:
    """The files with the answers, as they are on disk; those that are missing are asked for. All as cached_answers."""
    processes.join()
    if len(dataset) == 0:
        raise DataError("teacher cache: the data set has no rows, expected at least one")
    check_columns(model, dataset, "teacher cache")
    rows, weights = row_numbers(dataset), weights_hash(model)
    identity = {
        "format": FORMAT,
        "weights": weights,
        "data": dataset_hash(dataset) if key is None else key,
        "rows": sha256_of_bytes(np.sort(rows).tobytes()),
        **question.identity,
    }
    home = folder / content_hash(identity)[:32]

    def content(shard: Shard) -> bytes:
        picked = dataset.select(range(shard.start, shard.stop))
        answers = question.ask(model, picked, batch_size, pad_token_id)
        return stream_bytes(table_of_rows({ROW: rows[shard.start : shard.stop], **answers}))

    plan = Plan(home, identity, rows, shard_rows or usual_shard_rows(len(rows)), content)
    return Kept(home, weights, rows, shard_files(plan, on_rows))


def row_numbers(dataset: datasets.Dataset) -> NDArray[np.int64]:
    """The numbers of the examples. Shapes: [rows]. Errors: DataError when there are none, or one stands there twice."""
    if ROW not in dataset.column_names:
        raise DataError(f"teacher cache: the data set has no column {ROW!r}, expected one that numbers the examples")
    rows = np.asarray(dataset.with_format("numpy")[ROW][:], dtype=np.int64)
    if len(np.unique(rows)) != len(rows):
        raise DataError(f"teacher cache: the column {ROW!r} holds a number twice, expected one number per example")
    return rows


def _read_cache(kept: Kept, question: Question) -> datasets.Dataset:
    cache = datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in kept.files])
    if set(cache.column_names) != {ROW, *question.columns}:
        raise damaged(kept.home, f"it holds the columns {', '.join(cache.column_names)}")
    for table in cache.select_columns(list(question.columns)).with_format("arrow").iter(batch_size=10_000):
        if not all(np.isfinite(flat_values(table[name])).all() for name in question.columns):
            raise damaged(kept.home, "it holds answers that are NaN or infinite")
    return cache


def _aligned(cache: datasets.Dataset, kept: Kept) -> datasets.Dataset:
    order = order_of(row_numbers(cache), kept)
    return cache if np.array_equal(order, np.arange(len(order))) else cache.select(order)


def order_of(stored: NDArray[np.int64], kept: Kept) -> NDArray[np.int64]:
    """Where in a cache that holds the rows `stored` each row of the data set stands. Shapes: both [rows].

    Errors: RecordError when it holds others.
    """
    if not np.array_equal(np.sort(stored), np.sort(kept.rows)):
        raise damaged(kept.home, f"it holds {len(stored)} rows, and not the {len(kept.rows)} rows of the data set")
    by_number = np.argsort(stored)
    found: NDArray[np.int64] = by_number[np.searchsorted(stored[by_number], kept.rows)]
    return found


def check_probes(
    model: Any,
    dataset: datasets.Dataset,
    kept: Kept,
    question: Question,
    pad_token_id: int | None,
    stored: Callable[[list[int], Columns], Columns],
) -> None:
    """Ask again about a few rows, other ones in each call and each process, and compare.

    `stored` gives what the cache holds of rows at these places of the data set, as the answers given now have it.
    Errors: RecordError when a row is another one.
    """

    def check() -> None:
        drawn = np.random.default_rng().choice(len(dataset), size=min(PROBES, len(dataset)), replace=False)
        picked = sorted(drawn.tolist())
        fresh = question.ask(model, dataset.select(picked), PROBES, pad_token_id)
        flat = {
            name: values if isinstance(values, list) else values.reshape(len(picked), -1)
            for name, values in fresh.items()
        }
        if not question.alike(stored(picked, fresh), flat):
            raise damaged(
                kept.home, "rows computed again differ from the stored ones: the data behind its key has changed"
            )

    processes.done_by_all(check)


def _like(cells: datasets.Dataset, name: str, fresh: Rows) -> Rows:
    if isinstance(fresh, list):
        return [np.asarray(row) for row in cells.with_format(None)[name]]
    return np.asarray(cells.with_format("numpy")[name][:])
