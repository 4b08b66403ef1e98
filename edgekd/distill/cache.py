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
    rows = _row_numbers(dataset)
    identity = {
        "format": FORMAT,
        "weights": weights_hash(model),
        "data": dataset_hash(dataset) if key is None else key,
        "rows": sha256_of_bytes(np.sort(rows).tobytes()),
        **question.identity,
    }
    home = folder / content_hash(identity)[:32]

    def content(shard: Shard) -> bytes:
        picked = dataset.select(range(shard.start, shard.stop))
        answers = question.ask(model, picked, batch_size, pad_token_id)
        return stream_bytes(table_of_rows({ROW: rows[shard.start : shard.stop], **answers}))

    processes.join()
    with silent_libraries():
        plan = Plan(home, identity, rows, shard_rows or usual_shard_rows(len(rows)), content)
        answers = _aligned(_read_cache(home, shard_files(plan, on_rows), question), rows, home)
        processes.done_by_all(lambda: _check_probes(model, dataset, answers, home, question, pad_token_id))
        plain = dataset.remove_columns([name for name in question.columns if name in dataset.column_names])
        return datasets.concatenate_datasets([plain, answers.remove_columns(ROW)], axis=1)


def _row_numbers(dataset: datasets.Dataset) -> NDArray[np.int64]:
    if ROW not in dataset.column_names:
        raise DataError(f"teacher cache: the data set has no column {ROW!r}, expected one that numbers the examples")
    rows = np.asarray(dataset.with_format("numpy")[ROW][:], dtype=np.int64)
    if len(np.unique(rows)) != len(rows):
        raise DataError(f"teacher cache: the column {ROW!r} holds a number twice, expected one number per example")
    return rows


def _read_cache(home: Path, files: list[Path], question: Question) -> datasets.Dataset:
    cache = datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in files])
    if set(cache.column_names) != {ROW, *question.columns}:
        raise damaged(home, f"it holds the columns {', '.join(cache.column_names)}")
    for table in cache.select_columns(list(question.columns)).with_format("arrow").iter(batch_size=10_000):
        if not all(np.isfinite(flat_values(table[name])).all() for name in question.columns):
            raise damaged(home, "it holds answers that are NaN or infinite")
    return cache


def _aligned(cache: datasets.Dataset, rows: NDArray[np.int64], home: Path) -> datasets.Dataset:
    stored = _row_numbers(cache)
    if np.array_equal(stored, rows):
        return cache
    if not np.array_equal(np.sort(stored), np.sort(rows)):
        raise damaged(home, f"it holds {len(stored)} rows, and not the {len(rows)} rows of the data set")
    by_number = np.argsort(stored)
    return cache.select(by_number[np.searchsorted(stored[by_number], rows)])


def _check_probes(
    model: Any,
    dataset: datasets.Dataset,
    answers: datasets.Dataset,
    home: Path,
    question: Question,
    pad_token_id: int | None,
) -> None:
    probes = sorted(np.random.default_rng().choice(len(dataset), size=min(PROBES, len(dataset)), replace=False))
    fresh = question.ask(model, dataset.select(probes), PROBES, pad_token_id)
    cells = answers.select(probes)
    stored = {name: _like(cells, name, fresh[name]) for name in question.columns}
    flat = {
        name: values if isinstance(values, list) else values.reshape(len(probes), -1) for name, values in fresh.items()
    }
    if not question.alike(stored, flat):
        raise damaged(home, "rows computed again differ from the stored ones: the data behind its key has changed")


def _like(cells: datasets.Dataset, name: str, fresh: Rows) -> Rows:
    if isinstance(fresh, list):
        return [np.asarray(row) for row in cells.with_format(None)[name]]
    return np.asarray(cells.with_format("numpy")[name][:])
