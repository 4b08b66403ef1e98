"""What an exported language model says of a text: the summed loss of all its tokens, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd.errors import DataError, MissingExtra, RecordError
from edgekd.export.parity import Array, Batch, OnnxSession
from edgekd.record import AccuracyRecord, Artifact, Losses, Runtime

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "numpy", "export") from None

UNPREDICTED = -100  # in place of a label
MOST_ANSWERS = 20_000  # that a record holds one by one, evenly spaced, our choice: about 200 KB


def token_batches(dataset: Any, batch_size: int, rows: int | None = None) -> Iterator[Batch]:
    """Blocks of tokens (see edgekd.data.blocks) as an exported language model takes them, the first `rows` or all.

    Shapes: input_ids, attention_mask and labels int64 [batch, tokens]. What fills up the last block is masked.
    """
    plain = dataset.with_format(None)
    count = len(plain) if rows is None else min(rows, len(plain))
    for start in range(0, count, batch_size):
        columns = plain[start : min(start + batch_size, count)]
        ids, labels = (np.asarray(columns[name], dtype=np.int64) for name in ("input_ids", "labels"))
        mask = labels != UNPREDICTED
        mask[:, 0] = True
        yield {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": labels}


def language_record(
    path: Path,
    artifact: Artifact,
    batches: Iterator[Batch],
    *,
    dataset: str,
    split: str,
    dataset_sha256: str,
    threads: int = 1,
) -> AccuracyRecord:
    """What the language model in the ONNX file at `path` says of `batches`, which hold labels as token_batches gives.

    The logits of one batch at a time are held. Of many tokens the record holds 20,000 answers, evenly spaced, and the
    summed loss of all.
    Errors: RecordError when the file is not `artifact`; DataError when nothing is asked; else as onnx_logits.
    """
    session = OnnxSession(path, threads)
    if session.sha256 != artifact.sha256:
        found = f"{session.sha256[:12]}…"
        raise RecordError(f"{path}: has SHA-256 {found}, expected {artifact.sha256[:12]}… of {artifact.name}")
    total, answers, truth = 0.0, [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in batches:
        logits, labels = _asked(session, batch)
        total += float(_losses(logits, labels).sum())
        answers.append(logits.argmax(axis=-1).astype(np.int64))
        truth.append(labels)
    said, known = np.concatenate(answers), np.concatenate(truth)
    if not len(known):
        raise DataError(f"{dataset} {split}: found no token to predict, expected at least one")
    step = -(-len(known) // MOST_ANSWERS)
    return AccuracyRecord(
        artifact=artifact,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset=dataset,
        split=split,
        dataset_sha256=dataset_sha256,
        task="causal-lm",
        runtime=Runtime(name="onnxruntime", version=session.version, providers=session.providers, threads=threads),
        predictions=said[::step].tolist(),
        labels=known[::step].tolist(),
        losses=Losses(sum_nats=total, tokens=len(known)),
    )


def _asked(session: OnnxSession, batch: Batch) -> tuple[Array, Array]:
    """The logits from which a token is predicted, and that token. Shapes: [tokens, vocabulary], [tokens]."""
    (rows,) = session.rows([batch])
    labels = np.asarray(batch["labels"])
    following = np.full_like(labels, UNPREDICTED)
    following[:, :-1] = labels[:, 1:]
    known = following[np.asarray(batch["attention_mask"]) == 1]
    return rows[known != UNPREDICTED], known[known != UNPREDICTED]


def _losses(logits: Array, labels: Array) -> Array:
    """The cross entropy of each row, in float64. Shapes: [tokens]. Units: nats."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    found: Array = np.log(np.exp(wide).sum(axis=-1)) - wide[np.arange(len(labels)), labels]
    return found
