"""The teacher's answers, computed once and kept on disk: every student and every epoch reads them from there.

One folder per content key. It holds shards of rows, each written whole or not at all, and `cache.json`, written last.
Killed on the way, the next call goes on after the last whole shard.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from edgekd.distill import processes
from edgekd.distill.arrow import flat_values, stream_bytes, table_of_logits
from edgekd.distill.collate import ROW, TEACHER_LOGITS
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.fingerprint import dataset_hash, weights_hash
from edgekd.distill.quiet import silent_libraries
from edgekd.errors import DataError, RecordError
from edgekd.files import content_hash, make_folder, read_json, sha256_of_bytes, sha256_of_file, write_bytes, write_json

FORMAT = 1
SHARD_ROWS = 1024
PROBES = 8
# A probe is recomputed alone, on perhaps another processor: rounding differs, a wrong row differs far more.
PROBE_TOLERANCE = 1.0e-2

OnRows = Callable[[int, int], None]
# Of a model, a data set, a batch size and a padding token the logits: [rows, classes], or a flat array for each row.
Answering = Callable[..., Any]


def cached_logits(
    model: Any,
    dataset: datasets.Dataset,
    folder: Path,
    *,
    key: str | None = None,
    batch_size: int,
    pad_token_id: int | None = None,
    shard_rows: int = SHARD_ROWS,
    on_rows: OnRows | None = None,
    answer: Answering | None = None,
) -> datasets.Dataset:
    """`dataset` with a column `teacher_logits`, the logits of `model` for the example of the same `row`.

    `answer` gives the logits (predict_logits, unless told otherwise); rows may differ in how many they have.
    `key` names the content of the data set; without one it is computed. Under `folder` every combination of weights,
    key and set of rows has its own cache. `on_rows` is told the rows done and the rows in all after each shard.

    Of several processes, which all call this, the first one asks the teacher and writes; all of them read.

    Errors: DataError when `row` is missing or not unique; RecordError when the cache on disk is damaged or does not
    agree with the model; TrainingError when the teacher answers NaN.
    """
    rows, answer = _row_numbers(dataset), answer or predict_logits
    identity = {
        "format": FORMAT,
        "weights": weights_hash(model),
        "data": dataset_hash(dataset) if key is None else key,
        "rows": sha256_of_bytes(np.sort(rows).tobytes()),
    }
    home = folder / content_hash(identity)[:32]

    def write() -> None:
        if (make_folder(home) / "cache.json").is_file():
            return
        shards = _write_shards(
            model,
            dataset,
            rows,
            home,
            batch_size=batch_size,
            pad_token_id=pad_token_id,
            shard_rows=shard_rows,
            on_rows=on_rows,
            answer=answer,
        )
        write_json(home / "cache.json", {**identity, "shards": shards})

    processes.join()
    with silent_libraries():
        processes.done_by_first(write)
        logits = _aligned(_read_cache(home, identity), rows, home)
        _check_probes(model, dataset, logits, home, pad_token_id, answer)
        plain = dataset.remove_columns(TEACHER_LOGITS) if TEACHER_LOGITS in dataset.column_names else dataset
        return datasets.concatenate_datasets([plain, logits.remove_columns(ROW)], axis=1)


def _row_numbers(dataset: datasets.Dataset) -> NDArray[np.int64]:
    if ROW not in dataset.column_names:
        raise DataError(f"teacher cache: the data set has no column {ROW!r}, expected one that numbers the examples")
    rows = np.asarray(dataset.with_format("numpy")[ROW][:], dtype=np.int64)
    if len(np.unique(rows)) != len(rows):
        raise DataError(f"teacher cache: the column {ROW!r} holds a number twice, expected one number per example")
    return rows


def _write_shards(
    model: Any,
    dataset: datasets.Dataset,
    rows: NDArray[np.int64],
    home: Path,
    *,
    batch_size: int,
    pad_token_id: int | None,
    shard_rows: int,
    on_rows: OnRows | None,
    answer: Answering,
) -> dict[str, str]:
    hashes = {}
    for start in range(0, len(rows), shard_rows):
        part = rows[start : start + shard_rows]
        # The rows are in the name: a shard of an earlier, killed call counts only if it holds exactly these.
        path = home / f"shard-{start:09d}-{sha256_of_bytes(part.tobytes())[:16]}.arrow"
        if not path.is_file():
            picked = dataset.select(range(start, start + len(part)))
            logits = answer(model, picked, batch_size, pad_token_id)
            write_bytes(path, stream_bytes(table_of_logits(ROW, part, TEACHER_LOGITS, logits)))
        hashes[path.name] = sha256_of_file(path)
        if on_rows is not None:
            on_rows(start + len(part), len(rows))
    return hashes


def _read_cache(home: Path, identity: dict[str, Any]) -> datasets.Dataset:
    index = read_json(home / "cache.json")
    shards = index.get("shards") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not shards or {**identity, "shards": shards} != index:
        raise _damaged(home, "cache.json does not describe this teacher and these rows")
    for name, expected in sorted(shards.items()):
        path = home / name
        if path.name != name or not path.is_file() or sha256_of_file(path) != expected:
            raise _damaged(home, f"{name} is missing or has changed since it was written")
    cache = datasets.concatenate_datasets([datasets.Dataset.from_file(str(home / name)) for name in sorted(shards)])
    for table in cache.select_columns([TEACHER_LOGITS]).with_format("arrow").iter(batch_size=10_000):
        if not np.isfinite(flat_values(table[TEACHER_LOGITS])).all():
            raise _damaged(home, "it holds logits that are NaN or infinite")
    return cache


def _aligned(cache: datasets.Dataset, rows: NDArray[np.int64], home: Path) -> datasets.Dataset:
    stored = _row_numbers(cache)
    if np.array_equal(stored, rows):
        return cache
    if not np.array_equal(np.sort(stored), np.sort(rows)):
        raise _damaged(home, f"it holds {len(stored)} rows, and not the {len(rows)} rows of the data set")
    by_number = np.argsort(stored)
    return cache.select(by_number[np.searchsorted(stored[by_number], rows)])


def _check_probes(
    model: Any,
    dataset: datasets.Dataset,
    logits: datasets.Dataset,
    home: Path,
    pad_token_id: int | None,
    answer: Answering,
) -> None:
    probes = sorted(np.random.default_rng().choice(len(dataset), size=min(PROBES, len(dataset)), replace=False))
    fresh = answer(model, dataset.select(probes), PROBES, pad_token_id)
    stored = [np.asarray(row) for row in logits.select(probes).with_format(None)[TEACHER_LOGITS]]
    same = (
        one.shape == other.shape and np.allclose(one, other, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE)
        for one, other in zip(stored, fresh, strict=True)
    )
    if not all(same):
        raise _damaged(home, "rows computed again differ from the stored ones: the data behind its key has changed")


def _damaged(home: Path, found: str) -> RecordError:
    return RecordError(f"{home}: this teacher cache cannot be used: {found}. Delete the folder and run again")
