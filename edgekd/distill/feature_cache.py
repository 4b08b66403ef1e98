"""What the teacher computes inside, asked once and read from disk in every step: hidden states, queries, keys, values.

Files as edgekd.distill.shard_files has them, in float16, of each row as many tokens as it has. They are mapped into
memory: a step reads the rows of its batch. They stand in a cache of their own and not in the data set, which a training
hashes, copies and holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.arrow import list_lengths, mapped_table, mapped_values
from edgekd.distill.cache import Columns, Kept, Question, check_probes, kept_answers, near, order_of, row_numbers
from edgekd.distill.capture import Attention, Captured, capturable, capturing
from edgekd.distill.collate import ROW, Collator, model_inputs
from edgekd.distill.evaluate import by_length
from edgekd.distill.quiet import silent_libraries
from edgekd.distill.shard_files import OnRows, damaged, usual_shard_rows
from edgekd.errors import InputError, TrainingError

TOKENS = "tokens"
SHARD_BYTES = 32 * 2**20  # of one file, our choice: it is held in memory while it is written
STATES = ("queries", "keys", "values")


@dataclass(frozen=True)
class Wanted:
    """The teacher's layers, counted from 0, whose hidden states are kept, and those whose queries, keys and values."""

    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("hidden", "attention"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what is kept of a row."""
        states = [f"{kind}_{layer}" for layer in self.attention for kind in STATES]
        return (*(f"hidden_{layer}" for layer in self.hidden), *states)

    def holds(self, other: Wanted) -> bool:
        """Whether `other` asks for nothing that is not here."""
        return set(other.hidden) <= set(self.hidden) and set(other.attention) <= set(self.attention)


def stored_features(
    teacher: Any,
    dataset: datasets.Dataset,
    folder: Path,
    wanted: Wanted,
    *,
    key: str | None = None,
    batch_size: int,
    pad_token_id: int | None = None,
    shard_rows: int | None = None,
    on_rows: OnRows | None = None,
) -> StoredFeatures:
    """What `teacher` computes inside about each row of `dataset`, in evaluation mode and float32, kept as float16.

    All else as edgekd.distill.cache.cached_answers; students that want the same layers share a cache.
    Errors: as there; TrainingError when a number is NaN, or more than float16 holds.
    """
    question = feature_question(wanted)
    with silent_libraries():
        each = max(1, feature_bytes(teacher, dataset, wanted, pad_token_id) // len(dataset))
        kept = kept_answers(
            teacher, dataset, folder, question, key=key, batch_size=batch_size, pad_token_id=pad_token_id,
            shard_rows=shard_rows or max(1, min(usual_shard_rows(len(dataset)), SHARD_BYTES // each)), on_rows=on_rows,
        )  # fmt: skip
        found = StoredFeatures(wanted, kept)
        check_probes(teacher, dataset, kept, question, pad_token_id, lambda picked, _: found.flat(kept.rows[picked]))
    return found


def feature_bytes(teacher: Any, dataset: datasets.Dataset, wanted: Wanted, pad_token_id: int | None = None) -> int:
    """What the features of all rows take on disk, as the first row has it for each of its tokens. Units: bytes."""
    row = feature_question(wanted).ask(teacher, dataset.select([0]), 1, pad_token_id)
    numbers = sum(len(row[name][0]) for name in wanted.columns)
    lengths = _lengths(dataset)
    tokens = len(dataset) if lengths is None else lengths.sum() / lengths[0]
    return int(2 * numbers * tokens)


class StoredFeatures:
    """The features in the files of a cache, by the number of their row.

    `weights` is the hash of the teacher's, `name` that of all that they follow from.
    Errors: RecordError for files that hold something else.
    """

    def __init__(self, wanted: Wanted, kept: Kept) -> None:
        self.wanted, self.weights, self.name = wanted, kept.weights, kept.home.name
        tables = [mapped_table(path) for path in kept.files]
        if any(set(table.column_names) != {ROW, TOKENS, *wanted.columns} for table in tables):
            raise damaged(kept.home, f"it holds the columns {', '.join(tables[0].column_names)}")
        rows = np.concatenate([table[ROW].to_numpy() for table in tables])
        order_of(rows, kept)
        ends = np.cumsum([0, *(table.num_rows for table in tables)])
        self._order = np.argsort(rows)
        self._rows = rows[self._order]
        self._tokens = np.concatenate([table[TOKENS].to_numpy() for table in tables])
        self._ends = ends
        self._parts = [{name: _Part.of(table[name]) for name in wanted.columns} for table in tables]

    def check(self, weights: str, wanted: Wanted, dataset: datasets.Dataset) -> None:
        """Refuse another teacher, layers that are not kept, and a data set with other rows. Errors: InputError."""
        if weights != self.weights:
            raise InputError("training: found stored features of another teacher, expected those of the one given")
        if not self.wanted.holds(wanted):
            raise InputError(
                f"training: found stored features of the layers {asdict(self.wanted)}, expected {asdict(wanted)}, as "
                "the settings ask for"
            )
        self._places(row_numbers(dataset))

    def of(self, batch: Mapping[str, Any], wanted: Wanted) -> Captured:
        """What the teacher computes inside about `batch`, in float32, with zeros where a text is filled up.

        Shapes: as Captured; of queries, keys and values the heads are joined to one, [batch, 1, tokens, width].
        Errors: InputError when the rows are not those that the features are of.
        """
        inputs = [value for value in model_inputs(batch).values() if isinstance(value, torch.Tensor)]
        places = self._places(batch[ROW].cpu().numpy())
        tokens = self._checked(batch, self._tokens[places])
        captured = Captured()
        for layer in wanted.hidden:
            captured.hidden[layer] = self._padded(f"hidden_{layer}", places, tokens).to(inputs[0].device).float()
        for layer in wanted.attention:
            found = [self._padded(f"{kind}_{layer}", places, tokens)[:, None] for kind in STATES]
            queries, keys, values = (states.to(inputs[0].device).float() for states in found)
            attention: Attention = (queries, keys, values)
            captured.attention[layer] = attention
        return captured

    def flat(self, numbers: NDArray[np.int64]) -> Columns:
        """What is kept of the rows numbered `numbers`, one array for each."""
        places = self._places(numbers)
        found: Columns = {name: list(self._values(name, places)) for name in self.wanted.columns}
        return {TOKENS: self._tokens[places].reshape(-1, 1), **found}

    def _places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.minimum(np.searchsorted(self._rows, numbers), len(self._rows) - 1)
        strange = numbers[self._rows[at] != numbers]
        if len(strange):
            raise InputError(f"training: found no stored features of row {strange[0]}, expected those of all rows")
        places: NDArray[np.int64] = self._order[at]
        return places

    @staticmethod
    def _checked(batch: Mapping[str, Any], own: NDArray[np.int64]) -> int:
        """How many tokens the rows of the batch are filled up to."""
        ids, mask = batch.get("input_ids"), batch.get("attention_mask")
        if ids is None:
            return int(own[0])
        found = None if mask is None else mask.sum(dim=1).cpu().numpy()
        if own.max() > ids.shape[1] or (found is not None and not np.array_equal(found, own)):
            raise InputError(
                f"training: found rows of {own.tolist()} tokens in the stored features, expected "
                f"{ids.shape[1] if found is None else found.tolist()}: they are of another data set"
            )
        return int(ids.shape[1])

    def _values(self, name: str, places: NDArray[np.int64]) -> Iterator[NDArray[np.float16]]:
        shards = np.searchsorted(self._ends, places, side="right") - 1
        for shard, place in zip(shards, places, strict=True):
            yield self._parts[shard][name].row(int(place - self._ends[shard]))

    def _padded(self, name: str, places: NDArray[np.int64], tokens: int) -> torch.Tensor:
        rows = list(self._values(name, places))
        width = len(rows[0]) // int(self._tokens[places[0]])
        filled = np.zeros((len(rows), tokens, width), dtype=np.float16)
        for at, row in enumerate(rows):
            filled[at].reshape(-1)[: len(row)] = row
        return torch.from_numpy(filled)


@dataclass(frozen=True)
class _Part:
    """A column of one file: its numbers, mapped, and where each row begins. Shapes: `starts` [rows + 1]."""

    values: NDArray[np.float16]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, column: Any) -> _Part:
        return cls(mapped_values(column), np.cumsum([0, *list_lengths(column)]))

    def row(self, number: int) -> NDArray[np.float16]:
        return self.values[self.starts[number] : self.starts[number + 1]]


def feature_question(wanted: Wanted) -> Question:
    """The features of the layers `wanted`. Columns: flat arrays [tokens x width] in float16, and the tokens [rows]."""
    identity = {"answers": "features", **{name: list(layers) for name, layers in asdict(wanted).items()}}
    return Question((TOKENS, *wanted.columns), partial(_asked, wanted), identity, _alike)


def _alike(stored: Columns, fresh: Columns) -> bool:
    def wide(rows: Any) -> Any:
        return [row.astype(np.float32) for row in rows] if isinstance(rows, list) else rows

    return all(near(wide(stored[name]), wide(fresh[name])) for name in fresh)


def _asked(wanted: Wanted, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None) -> Columns:
    collate, order, lengths = Collator(pad_token_id), by_length(dataset), _lengths(dataset)
    device, rows, was_training = next(model.parameters()).device, dataset.with_format("numpy"), model.training
    found: dict[str, list[Any]] = {name: [None] * len(order) for name in (TOKENS, *wanted.columns)}
    model.eval()
    try:
        with torch.inference_mode(), capturable(model) if wanted.attention else nullcontext():
            for start in range(0, len(order), batch_size):
                picked = order[start : start + batch_size].tolist()
                batch = collate(rows.__getitems__(picked))
                inputs = {name: value.to(device) for name, value in model_inputs(batch).items()}
                with capturing(model, hidden=wanted.hidden, attention=wanted.attention) as seen:
                    model.base_model(**inputs)
                for name, states in _named(seen):
                    half = states.half().cpu().numpy()
                    for at, row in enumerate(picked):
                        tokens = half.shape[1] if lengths is None else int(lengths[row])
                        found[TOKENS][row], found[name][row] = tokens, half[at, :tokens].reshape(-1)
    finally:
        model.train(was_training)
    for name in wanted.columns:
        if not all(np.isfinite(row).all() for row in found[name]):
            raise TrainingError(
                f"teacher cache: {name.replace('_', ' of layer ')} holds a number that is NaN or more than float16 "
                "holds (65504), expected smaller ones. Let the teacher run beside the student: distill.cache.features: "
                "false"
            )
    return {**found, TOKENS: np.array(found[TOKENS], dtype=np.int64)}


def _named(seen: Captured) -> Iterator[tuple[str, torch.Tensor]]:
    """What was captured by its name, [batch, tokens, width]; heads one after the other."""
    for layer, states in seen.hidden.items():
        yield f"hidden_{layer}", states
    for layer, attention in seen.attention.items():
        for kind, states in zip(STATES, attention, strict=True):
            yield f"{kind}_{layer}", states.transpose(1, 2).flatten(2)


def _lengths(dataset: datasets.Dataset) -> NDArray[np.int64] | None:
    """The tokens of each text; None of images."""
    if "input_ids" not in dataset.column_names:
        return None
    tables = dataset.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=10_000)
    return np.concatenate([list_lengths(table["input_ids"]) for table in tables])
