"""Exported sentence encoders held against the trained ones: by their vectors, and by what these find nearest."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd.errors import DataError, ExportError, MissingExtra
from edgekd.export.manifest import ParityResult
from edgekd.export.parity import Array, Batch, answered
from edgekd.record import AccuracyRecord, Artifact

try:
    import numpy as np

    from edgekd.retrieval import LEAST_TEXTS, agreement, neighbours
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "numpy", "export") from None


def embedding_parity(found: Array, reference: Array, path: Path) -> ParityResult:
    """How the embeddings `found` by the file at `path` differ from those of the trained model, of the same texts.

    The answer to a text is its nearest other text. Shapes: both [texts, width].
    Errors: ExportError for fewer than three texts, of which nothing could be said.
    """
    if len(reference) < LEAST_TEXTS:
        raise ExportError(
            f"{path}: found {len(reference)} texts to compare on, expected at least {LEAST_TEXTS}. Raise "
            "parity.examples, or give a larger validation part"
        )
    absolute = float(np.abs(found - reference).max())
    same = neighbours(found, 1)[:, 0] == neighbours(reference, 1)[:, 0]
    return ParityResult(
        absolute=absolute,
        relative=absolute / (float(np.abs(reference).max()) or 1.0),
        agreement=float(same.mean()),
        examples=len(reference),
        cosine=float(_cosines(found, reference).min().clip(-1, 1)),
    )


def embedding_record(
    path: Path,
    artifact: Artifact,
    batches: Iterable[Batch],
    teacher: Array,
    *,
    dataset: str,
    split: str,
    dataset_sha256: str,
    threads: int = 1,
) -> AccuracyRecord:
    """Which other text the encoder in the ONNX file at `path` finds nearest to each, beside the teacher's answer.

    `teacher` are the embeddings of the trained teacher of the same texts. Shapes: [texts, width].
    Errors: DataError when there are not as many texts; else as edgekd.export.parity.accuracy_record.
    """
    vectors, runtime = answered(path, artifact, batches, threads)
    if len(vectors) != len(teacher) or len(teacher) < LEAST_TEXTS:
        raise DataError(
            f"{dataset} {split}: found {len(vectors)} texts and {len(teacher)} embeddings of the teacher, expected as "
            f"many, at least {LEAST_TEXTS}"
        )
    found = agreement(vectors, teacher)
    return AccuracyRecord(
        artifact=artifact,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset=dataset,
        split=split,
        dataset_sha256=dataset_sha256,
        task="sentence-embedding",
        runtime=runtime,
        predictions=_nearest(vectors),
        labels=_nearest(teacher),
        spearman=float(np.clip(found.spearman, -1, 1)),
        recall_at_10=found.recall_at_10,
    )


def _nearest(vectors: Array) -> list[int]:
    return [int(text) for text in neighbours(vectors, 1)[:, 0]]


def _cosines(one: Array, other: Array) -> Any:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
