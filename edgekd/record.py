"""Records: evidence. Raw samples with the circumstances they were taken in, judged later and never changed.

History of the format
    1.0  latency, paired and accuracy records.
    1.1  the task and the metric of an accuracy record, a second score, losses, and measures of sentence embeddings.
    1.2  what the board went through while it measured (vitals), and what was tuned for it.
    1.3  of paired records the stretch that tells the energy of an inference, on boards with rails.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from edgekd.config import Model
from edgekd.errors import InputError, RecordError
from edgekd.files import MAX_JSON_BYTES, read_json, write_json
from edgekd.measures import f1_micro
from edgekd.task import Metric, TaskName, TaskWords, perplexity_of, words_of
from edgekd.text import printable
from edgekd.vitals import Stretch, Vitals

SCHEMA_VERSION = "1.3"
READABLE = ("1.0", "1.1", "1.2", SCHEMA_VERSION)
MAX_NS = 2**63 - 1

Nanoseconds = Annotated[int, Field(gt=0, le=MAX_NS)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Artifact(Model):
    """An exported model, named by the SHA-256 of its file. `role` tells a student from its teacher."""

    name: str
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]
    precision: str = "unknown"
    role: Literal["student", "teacher", "other"] = "other"


class HostFacts(Model):
    """What the host said of itself when it measured. `None` means unknown, never fine.

    `vitals` has one entry for each call of the agent, in their order; fewer: unknown for the others. `tuned` names what
    was set for measuring and put back afterwards; None: nobody asked for that.
    """

    name: str
    machine: str
    system: str
    python: str
    cpu: str | None = None
    cores: int | None = None
    affinity: list[int] | None = None
    memory_bytes: int | None = None
    governor: str | None = None
    boot_id: str | None = None
    clock_hz: int | None = None
    load_before: float | None = None
    load_after: float | None = None
    temperature_c_before: float | None = None
    temperature_c_after: float | None = None
    throttled_before: str | None = None
    throttled_after: str | None = None
    vitals: list[Vitals] = Field(default_factory=list)
    tuned: list[str] | None = None


class Runtime(Model):
    """What executed the artifact."""

    name: str
    version: str
    providers: list[str]
    threads: Annotated[int, Field(ge=1)]


class Protocol(Model):
    """How it was measured: part of the result. `shapes` are the inputs' shapes; durations are per process run."""

    shapes: dict[str, list[int]]
    processes: Annotated[int, Field(ge=1)]
    warmup_s: Annotated[float, Field(ge=0)]
    min_duration_s: Annotated[float, Field(ge=0)]
    min_samples: Annotated[int, Field(ge=1)]
    clock: str = "CLOCK_MONOTONIC_RAW"


class ProcessRun(Model):
    """One process on the host: `samples_ns` holds one raw duration per inference, in the order they happened."""

    load_ns: Nanoseconds
    first_ns: Nanoseconds
    warmup_ns: list[Nanoseconds]
    samples_ns: Annotated[list[Nanoseconds], Field(min_length=1)]
    peak_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    peak_memory_source: str | None = None


class PairedRun(Model):
    """Sentinel, model, sentinel, model, …, sentinel in one process: one more sentinel time than model times.

    `*_thread_ns` are the same inferences in the processor time of the thread that ran them, where it was one thread.
    `energy` is the model alone after these turns, with what the rails said; None where no rail told.
    """

    model_ns: Annotated[list[Nanoseconds], Field(min_length=1)]
    sentinel_ns: list[Nanoseconds]
    model_thread_ns: list[Nanoseconds] | None = None
    sentinel_thread_ns: list[Nanoseconds] | None = None
    load_ns: Nanoseconds
    peak_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    peak_memory_source: str | None = None
    energy: Stretch | None = None

    @model_validator(mode="after")
    def _interleaved(self) -> PairedRun:
        if len(self.sentinel_ns) != len(self.model_ns) + 1:
            raise ValueError(f"{len(self.model_ns)} model times need {len(self.model_ns) + 1} sentinel times")
        threads = (self.model_thread_ns, self.sentinel_thread_ns)
        if threads != (None, None) and [times and len(times) for times in threads] != [
            len(self.model_ns),
            len(self.sentinel_ns),
        ]:
            raise ValueError("the thread's times must be as many as the times of model and sentinel, or absent")
        return self


class _Header(Model):
    schema_version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.3"
    artifact: Artifact
    created_utc: str
    warnings: list[str] = Field(default_factory=list)


class LatencyRecord(_Header):
    """Raw latencies of one artifact on one host."""

    kind: Literal["latency"] = "latency"
    device: str | None = None
    host: HostFacts
    runtime: Runtime
    protocol: Protocol
    runs: Annotated[list[ProcessRun], Field(min_length=1)]

    @property
    def samples_ns(self) -> list[int]:
        """Every steady sample of every run, in order."""
        return [sample for run in self.runs for sample in run.samples_ns]

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest peak over the runs, or None when any run does not know its own."""
        peaks = [run.peak_memory_bytes for run in self.runs]
        known = [peak for peak in peaks if peak is not None]
        return max(known) if len(known) == len(peaks) else None


class PairedRecord(_Header):
    """Latency of one artifact relative to a sentinel model, for prediction and comparison, never for a verdict."""

    kind: Literal["paired"] = "paired"
    device: str | None = None
    host: HostFacts
    runtime: Runtime
    protocol: Protocol
    sentinel_sha256: Sha256
    run: PairedRun


class Losses(Model):
    """The cross entropy of all `tokens` that a language model was asked for, summed. Units: nats."""

    sum_nats: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    tokens: Annotated[int, Field(ge=1)]

    @property
    def perplexity(self) -> float:
        """e to the power of the mean, infinite where that is beyond all floats."""
        return perplexity_of(self.sum_nats / self.tokens)


class AccuracyRecord(_Header):
    """What one artifact answered to each example of a fixed data set, beside the right answers.

    `task` is what was asked, None where nobody said it; it gives the `words` and has the `metric`.
    Of sentence embeddings the answer is the number of the nearest other text, and the right one is the teacher's.
    `spearman` and `recall_at_10` tell more of these: see edgekd.retrieval.Agreement. Absent for every other task.
    Of a language model these are tokens, of many some evenly spaced ones, and `losses` are of all.
    Of sentences there is an answer for each word; of examples with any number of labels a 1 or 0 for each pair of
    example and label, and the `metric` is then the micro F1 of the pairs. `score` is a further measure, by its name.
    """

    kind: Literal["accuracy"] = "accuracy"
    dataset: str
    split: str
    dataset_sha256: Sha256
    runtime: Runtime
    predictions: Annotated[list[int], Field(min_length=1)]
    labels: list[int]
    spearman: Annotated[float, Field(ge=-1, le=1)] | None = None
    recall_at_10: Annotated[float, Field(ge=0, le=1)] | None = None
    losses: Losses | None = None
    task: TaskName | None = None
    metric: Metric = "accuracy"
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    score_name: str | None = None

    @model_validator(mode="after")
    def _same_length(self) -> AccuracyRecord:
        if len(self.predictions) != len(self.labels):
            raise ValueError(f"{len(self.predictions)} predictions but {len(self.labels)} labels")
        strange = sorted({*self.predictions, *self.labels} - {0, 1}) if self.metric == "f1_micro" else []
        if strange:
            raise ValueError(f"found the answer {strange[0]}, expected 0 or 1 for the metric f1_micro")
        if self.task is not None and self.metric != self.words.metric:
            raise ValueError(f"found the metric {self.metric}, expected {self.words.metric} for the task {self.task}")
        return self

    @property
    def words(self) -> TaskWords:
        """What is said of the answers."""
        return words_of(self.task, self.metric)

    @property
    def further(self) -> dict[str, float]:
        """What else is known of the answers, by name: shares that nothing is judged by."""
        known = {self.score_name or "score": self.score, "recall at 10": self.recall_at_10}
        return {name: share for name, share in known.items() if share is not None}

    @property
    def accuracy(self) -> float:
        """Share of examples answered right, or micro F1 where that is the metric."""
        if self.metric == "f1_micro":
            return f1_micro(self.predictions, self.labels)
        right = sum(p == y for p, y in zip(self.predictions, self.labels, strict=True))
        return right / len(self.labels)


Record = Annotated[LatencyRecord | PairedRecord | AccuracyRecord, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[LatencyRecord | PairedRecord | AccuracyRecord] = TypeAdapter(Record)


def write_record(record: LatencyRecord | PairedRecord | AccuracyRecord, path: Path) -> None:
    """Store `record` at `path`, whole or not at all."""
    write_json(path, record.model_dump(mode="json"))


def record_from_json(table: Any, where: str) -> LatencyRecord | PairedRecord | AccuracyRecord:
    """The record in the JSON value `table`; `where` names its origin. Errors: RecordError."""
    if not isinstance(table, dict) or "kind" not in table or "schema_version" not in table:
        raise RecordError(f"{where}: is not an edgekd record (no 'kind' and 'schema_version'). Make one: edgekd bench")
    version = table["schema_version"]
    if version not in READABLE:
        raise RecordError(
            f"{where}: has schema_version {printable(repr(version), 40)}, "
            f"this edgekd reads {READABLE[0]} to {SCHEMA_VERSION}"
        )
    try:
        return _ADAPTER.validate_python(table)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != table.get("kind"))
        found = printable(repr(first["input"]), 60)
        raise RecordError(f"{where}: {place or 'record'}: {first['msg']} (found {found})") from None


def read_record(path: Path) -> LatencyRecord | PairedRecord | AccuracyRecord:
    """The record in the file at `path`. Errors: InputError when unreadable, RecordError when it is no valid record."""
    return record_from_json(read_json(path, max_bytes=MAX_JSON_BYTES), str(path))


def read_records(paths: Sequence[Path]) -> list[tuple[Path, LatencyRecord | PairedRecord | AccuracyRecord]]:
    """Every record in `paths`, files or folders of *.json. Errors: InputError when there is none, RecordError."""
    found: list[tuple[Path, LatencyRecord | PairedRecord | AccuracyRecord]] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: holds no *.json file, expected records. Make one: edgekd bench MODEL.onnx")
        found.extend((file, read_record(file)) for file in files)
    return found
