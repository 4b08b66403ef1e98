"""The proof that an exported model still says the same: run on real inputs and compared with the trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekd.errors import DataError, ExportError, InputError, MissingExtra, RecordError
from edgekd.export.check import safe_model
from edgekd.export.libraries import library
from edgekd.export.manifest import ParityResult
from edgekd.files import sha256_of_bytes
from edgekd.measures import entity_f1
from edgekd.pooling import OUTPUT
from edgekd.recipe import Parity
from edgekd.record import AccuracyRecord, Artifact, Runtime
from edgekd.student import PRECISIONS, numbers_of
from edgekd.task import TASKS, TaskName
from edgekd.text import listing, printable
from edgekd.units import text_from_share

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "numpy", "export") from None

Array = np.ndarray[Any, Any]
Batch = Mapping[str, Array]

_PROVIDERS = ["CPUExecutionProvider"]
UNLABELLED = -100  # a token without a label
_MEND_FP32 = "Export again; if it stays, report a bug"


def check_parity(
    reference_logits: Array,
    path: Path,
    batches: Iterable[Batch],
    limits: Parity,
    *,
    threads: int = 1,
    several: bool = False,
) -> ParityResult:
    """How the ONNX file at `path` differs from `reference_logits` on the first `limits.examples` rows of `batches`.

    With `several` labels an answer is which of them apply. Rows are as in onnx_logits; edgekd.export.reference gives
    the reference for the same batches. Judged by require.

    Errors: ExportError when either side gives NaN or infinity, or they do not have the same rows and classes.
    """
    wanted = min(limits.examples, len(reference_logits))
    if wanted == 0:
        raise ExportError(f"{path}: found no reference logits, expected at least one example to compare on")
    reference = np.asarray(reference_logits[:wanted], dtype=np.float64)
    if not np.isfinite(reference).all():
        raise ExportError(f"{path}: the trained model itself gives NaN or infinity, so nothing can agree with it")
    session = OnnxSession(path, threads)
    found = _first_rows(session, batches, wanted).astype(np.float64)
    if found.shape != reference.shape:
        raise ExportError(f"{path}: gives logits of shape {found.shape}, the trained model {reference.shape}")
    if session.output == OUTPUT:
        from edgekd.export.embeddings import embedding_parity

        return embedding_parity(found, reference, path)
    absolute = float(np.abs(found - reference).max())
    return ParityResult(
        absolute=absolute,
        relative=absolute / (float(np.abs(reference).max()) or 1.0),
        agreement=float((_answers(found, several) == _answers(reference, several)).mean()),
        examples=wanted,
    )


def require(result: ParityResult, precision: str, limits: Parity, *, name: str = "the exported model") -> None:
    """Nothing, when `result` is within `limits`. Errors: ExportError saying which limit is passed and what to do."""
    if precision not in PRECISIONS:
        known = listing(PRECISIONS)
        raise ExportError(f"{name}: there is no parity limit for the precision {precision!r}, expected one of {known}")
    on = f"on {result.examples} examples"
    numbers = numbers_of(precision)
    if numbers == "fp32" and result.absolute > limits.fp32_absolute:
        raise ExportError(
            f"{name}: a logit differs by {result.absolute:.3g} from the trained model {on}, the limit is"
            f" parity.fp32_absolute = {limits.fp32_absolute:.3g}. {_MEND_FP32}"
        )
    least: float = getattr(limits, f"{numbers}_agreement")
    other = f"Train longer, take {precision} out of precisions, or lower the limit"
    mend = _MEND_FP32 if precision == "fp32" else other
    if result.agreement < least:
        raise ExportError(
            f"{name}: only {text_from_share(result.agreement)} of the answers are the trained model's {on},"
            f" the limit is parity.{numbers}_agreement = {text_from_share(least)}. {mend}"
        )


def onnx_logits(path: Path, batches: Iterable[Batch], threads: int = 1) -> Array:
    """What the ONNX file at `path` answers to `batches` on this machine's processor, float32.

    A batch maps each input's name to its array; names the model does not take are left alone.

    Shapes: (examples, classes); for a language model (real tokens, vocabulary), the tokens its attention_mask marks;
    for a sentence encoder (texts, width).
    Errors: InputError or SecurityError for a bad file; ExportError when it cannot be run or gives NaN or infinity.
    """
    return _joined(list(OnnxSession(path, threads).rows(batches)), path)


def accuracy_record(
    path: Path,
    artifact: Artifact,
    batches: Iterable[Batch],
    labels: Sequence[int],
    *,
    dataset: str,
    split: str,
    dataset_sha256: str,
    threads: int = 1,
    task: TaskName = "text-classification",
    sentences: Sentences | None = None,
) -> AccuracyRecord:
    """What the classifier in the ONNX file at `path` answers to `batches`, beside the right `labels`.

    In a `task` with any number of labels `labels` are a 1 or 0 for each pair of example and label. Of `sentences` they
    are one for each real token, -100 where it has none: those are left out.

    Errors: RecordError when the file is not `artifact`; DataError when labels and answers do not fit; else as
    onnx_logits.
    """
    several = TASKS[task].labelling == "many"
    logits, runtime = answered(path, artifact, batches, threads)
    truth = [int(label) for label in labels]
    answers = _answers(logits, several).reshape(-1)
    if len(truth) != len(answers):
        raise DataError(f"{dataset} {split}: found {len(truth)} labels for {len(answers)} examples, expected as many")
    if sentences is not None:
        real = np.asarray(truth) != UNLABELLED
        score = sentences.score(answers, np.asarray(truth))
        truth, answers = [label for label in truth if label != UNLABELLED], answers[real]
    most = 1 if several else logits.shape[1] - 1
    strange = next((label for label in truth if not 0 <= label <= most), None)
    if strange is not None:
        raise DataError(f"{dataset} {split}: found the label {strange}, the model knows 0 to {most}")
    return AccuracyRecord(
        artifact=artifact,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        dataset=dataset,
        split=split,
        dataset_sha256=dataset_sha256,
        runtime=runtime,
        predictions=[int(answer) for answer in answers],
        labels=truth,
        task=task,
        metric=TASKS[task].metric,
        score=None if sentences is None else score,
        score_name=None if sentences is None else "entity F1",
    )


@dataclass(frozen=True)
class Sentences:
    """The names of the tags, and how many real tokens each sentence has."""

    names: Sequence[str]
    lengths: Sequence[int]

    def score(self, answers: Array, labels: Array) -> float:
        """F1 of the entities that `answers` and `labels` [tokens] mark; tokens without a label are left out."""
        said: list[list[str]] = []
        true: list[list[str]] = []
        ends = np.cumsum(self.lengths)
        for own, its in zip(np.split(answers, ends[:-1]), np.split(labels, ends[:-1]), strict=True):
            said.append([self.names[answer] for answer in own[its != UNLABELLED]])
            true.append([self.names[label] for label in its[its != UNLABELLED]])
        return entity_f1(said, true)


def _answers(logits: Array, several: bool) -> Array:
    found: Array = logits > 0 if several else logits.argmax(axis=-1)
    return found.astype(np.int64)


def answered(path: Path, artifact: Artifact, batches: Iterable[Batch], threads: int) -> tuple[Array, Runtime]:
    """What `artifact`, the ONNX file at `path`, answers to `batches`, as onnx_logits, and what executed it.

    Errors: RecordError when the file is not `artifact`; else as onnx_logits.
    """
    session = OnnxSession(path, threads)
    if session.sha256 != artifact.sha256:
        found = f"{session.sha256[:12]}…"
        raise RecordError(f"{path}: has SHA-256 {found}, expected {artifact.sha256[:12]}… of {artifact.name}")
    rows = _joined(list(session.rows(batches)), path)
    return rows, Runtime(name="onnxruntime", version=session.version, providers=session.providers, threads=threads)


class OnnxSession:
    """An ONNX file, checked and loaded by onnxruntime."""

    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = library("onnxruntime")
        state = library("onnxruntime.capi.onnxruntime_pybind11_state")
        self._failures: tuple[type[Exception], ...] = (
            state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented,
            state.RuntimeException, state.EPFail, state.NoSuchFile, RuntimeError, ValueError,
        )  # fmt: skip
        data, external = safe_model(path)
        self.path = path
        self.sha256 = sha256_of_bytes(data)
        self.version = str(onnxruntime.__version__)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path) if external else data, options, _PROVIDERS)
        except self._failures as error:
            raise ExportError(f"{path}: onnxruntime {self.version} cannot load it ({_reason(error)})") from error
        self.providers: list[str] = list(self._session.get_providers())
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        self.output = OUTPUT if OUTPUT in outputs else "logits"

    def rows(self, batches: Iterable[Batch]) -> Iterator[Array]:
        """The logits of each batch, without padding, or its embeddings. Errors: ExportError."""
        for batch in batches:
            missing = [name for name in self.inputs if name not in batch]
            if missing:
                raise ExportError(f"{self.path}: needs the input {missing[0]!r}, found {listing(batch)}")
            try:
                logits = self._session.run([self.output], {name: batch[name] for name in self.inputs})[0]
            except self._failures as error:
                raise ExportError(f"{self.path}: onnxruntime cannot run it ({_reason(error)})") from error
            rows = real_rows(logits, batch)
            if not np.isfinite(rows).all():
                raise ExportError(f"{self.path}: gives NaN or infinity, expected numbers. Look at its weights")
            yield rows


def real_rows(logits: Array, batch: Batch) -> Array:
    """The rows of `logits` that answer something real: all of a classifier's, those of real tokens otherwise.

    Shapes: logits (examples, classes) or (examples, sequence, vocabulary).
    Errors: ExportError for other shapes, or tokens without an attention_mask.
    """
    if logits.ndim == 2:
        return logits
    if logits.ndim != 3 or "attention_mask" not in batch:
        raise ExportError(f"found logits of {logits.ndim} dimensions, expected 2, or 3 with an attention_mask")
    rows: Array = logits[np.asarray(batch["attention_mask"]) == 1]
    return rows


def _first_rows(session: OnnxSession, batches: Iterable[Batch], wanted: int) -> Array:
    rows: list[Array] = []
    for part in session.rows(batches):
        rows.append(part)
        if sum(map(len, rows)) >= wanted:
            break
    found = _joined(rows, session.path)
    if len(found) < wanted:
        raise ExportError(f"{session.path}: the batches hold {len(found)} examples, the reference {wanted}")
    return found[:wanted]


def _joined(rows: list[Array], path: Path) -> Array:
    if not rows:
        raise InputError(f"{path}: was given no batch, expected at least one example")
    return np.concatenate(rows)


def _reason(error: Exception) -> str:
    return printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
