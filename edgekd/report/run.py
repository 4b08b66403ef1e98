"""A run folder as the report sees it: every file checked, and None for what is not there yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from edgekd.config import Model
from edgekd.errors import InputError, RecordError
from edgekd.export.manifest import FILE_NAME, Manifest, read_manifest
from edgekd.files import read_json
from edgekd.gate.files import read_verdict
from edgekd.gate.verdict import Verdict
from edgekd.record import AccuracyRecord, LatencyRecord, read_record
from edgekd.report.measured import Measured, measured
from edgekd.sizing.attempts import AttemptsFile, read_attempts
from edgekd.sizing.files import SizingFile, StudentsFile, read_sizing, read_students
from edgekd.task import TaskWords, words_of
from edgekd.text import printable

RECIPE, STUDENTS, SIZING, VERDICT = "recipe.json", "students.json", "sizing.json", "verdict.json"
ATTEMPTS, DATA = "attempts.json", "data.json"
TEACHER, STUDENT, ARTIFACTS, RECORDS = "teacher.json", "student.json", "artifacts", "records"


class _Told(Model):
    """A file of a later step: what the report does not show is passed over."""

    model_config = ConfigDict(extra="ignore")


class Epoch(_Told):
    """One epoch of a training; `alpha` is the teacher's part in the loss, None where there is no teacher."""

    epoch: int
    step: int
    train_loss: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    alpha: float | None = None
    learning_rate: float | None = None
    calibration_error: float | None = None


class ComparedStart(_Told):
    """A start that was compared: cross entropy before any step, and after `steps` where it was tried."""

    method: str
    layers: list[int]
    initial_loss: float | None
    steps: int
    trained_loss: float | None


class Initialisation(_Told):
    """Where a student's first weights came from: how, and for each of its layers the teacher's."""

    method: str | None = None
    layer_map: list[int] = Field(default_factory=list)
    copied_parameters: int | None = None
    compared: list[ComparedStart] = Field(default_factory=list)


class Fork(_Told):
    """The last epoch of a student, on labels alone: whether it was kept and why. Calibration errors are shares."""

    epoch: int
    kept: bool
    reason: str
    calibration_error_before: float
    calibration_error: float
    most_calibration_error: float


class DataFacts(_Told):
    """The data set: examples in each part, and what there was to say about it."""

    name: str
    train: int
    validation: int
    test: int
    notes: list[str] = Field(default_factory=list)


class ClassCount(_Told):
    """Examples of one class in each part."""

    name: str
    train: int
    validation: int
    test: int


class SharedExample(_Told):
    """An example that stands in two parts, counted from 1 in each; no text where it is an image."""

    row: int
    other_row: int
    similarity: float
    text: str | None
    other_text: str | None


class LeakFacts(_Told):
    """How many of the examples in `part` also stand in `other`, the `same` or `nearly` so, and some of them."""

    part: str
    other: str
    same: int
    nearly: int
    share: float
    shown: list[SharedExample]


class DataFile(_Told):
    """data.json: what was found in the data before the training. By part: examples, blank and truncated texts.

    `repeated` counts test examples with the same input as another one.
    """

    schema_version: Literal["1.0", "1.1"]
    examples: dict[str, int]
    classes: list[ClassCount]
    leakage: list[LeakFacts]
    dropped: int
    repeated: int = 0
    blank: dict[str, int]
    max_length: int | None
    truncated: dict[str, int] | None
    warnings: list[str]


class TeacherFile(_Told):
    """teacher.json: what the teacher is, and how it learned its task."""

    schema_version: Literal["1.0", "1.1"]
    spec: dict[str, Any]
    parameters: int
    origin: str
    trained: bool
    history: list[Epoch]
    best_epoch: int | None
    stopped: str | None
    validation_accuracy: float
    label_names: list[str]
    data: DataFacts


class EmbeddingMeasures(_Told):
    """What is known of a student that gives embeddings: shares, and a rank correlation."""

    top_1: float
    recall_at_10: float
    spearman: float


class StudentFile(_Told):
    """student.json: what the student is, how it was distilled, and how faithful it is to its teacher.

    `agreement` is the share of equal answers. Losses are cross entropies on the validation part, `divergence` the mean
    KL(teacher ‖ student); both in nats. Schema 1.0 has neither, and no calibration.
    """

    schema_version: Literal["1.0", "1.1"]
    spec: dict[str, Any]
    parameters: int
    initialisation: Initialisation = Initialisation()
    history: list[Epoch]
    best_epoch: int | None
    stopped: str | None
    fork: Fork | None = None
    validation_accuracy: float
    validation_loss: float | None = None
    teacher_validation_accuracy: float
    teacher_validation_loss: float | None = None
    agreement: float
    divergence: float | None = None
    calibration_error: float | None = None
    teacher_calibration_error: float | None = None
    warning: str | None = None
    measures: EmbeddingMeasures | None = None


@dataclass(frozen=True)
class RunFolder:
    """Everything in the run folder `root`; None, or nothing in `latency` and `accuracy`, where a step has not run."""

    root: Path
    recipe: dict[str, Any] | None
    students: StudentsFile | None
    sizing: SizingFile | None
    teacher: TeacherFile | None
    student: StudentFile | None
    manifest: Manifest | None
    verdict: Verdict | None
    latency: tuple[LatencyRecord, ...]
    accuracy: tuple[AccuracyRecord, ...]
    attempts: AttemptsFile | None = None
    data: DataFile | None = None

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's."""
        told = (self.recipe or {}).get("name")
        return told if isinstance(told, str) else self.root.resolve().name

    @property
    def words(self) -> TaskWords:
        """The task in words; those of a classification where the recipe is not there."""
        return words_of((self.recipe or {}).get("task"))

    @cached_property
    def measured(self) -> list[Measured]:
        """Every artifact that has a record, the teacher first."""
        return measured([*self.latency, *self.accuracy])

    @property
    def nothing_fits(self) -> bool:
        """Whether the sizing ended without a student."""
        return self.students is not None and self.students.chosen is None


def read_run(root: Path) -> RunFolder:
    """The run folder `root`. Errors: InputError when it holds nothing of ours, RecordError for a damaged file."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, expected a run folder. Make one: edgekd run quickstart")
    records = [read_record(path) for path in sorted((root / RECORDS).glob("*.json"))]
    found = RunFolder(
        root=root,
        recipe=_read(root / RECIPE, _table),
        students=_read(root / STUDENTS, read_students),
        sizing=_read(root / SIZING, read_sizing),
        teacher=_read(root / TEACHER, lambda path: _told(path, TeacherFile)),
        student=_read(root / STUDENT, lambda path: _told(path, StudentFile)),
        manifest=_read(root / ARTIFACTS / FILE_NAME, lambda path: read_manifest(path.parent)),
        verdict=_read(root / VERDICT, read_verdict),
        latency=tuple(record for record in records if isinstance(record, LatencyRecord)),
        accuracy=tuple(record for record in records if isinstance(record, AccuracyRecord)),
        attempts=_read(root / ATTEMPTS, read_attempts),
        data=_read(root / DATA, read_data),
    )
    if not (records or any(part is not None for part in (found.recipe, found.students, found.teacher, found.verdict))):
        raise InputError(f"{root}: holds no {RECIPE}, {STUDENTS} or {RECORDS}, expected a run folder. See: edgekd run")
    return found


def read_data(path: Path) -> DataFile | None:
    """data.json; None for one from before the data was looked at. Errors: InputError, RecordError."""
    return _told(path, DataFile) if "schema_version" in _table(path) else None


T = TypeVar("T")
M = TypeVar("M", bound=Model)


def _read(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.exists() else None


def _table(path: Path) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise RecordError(f"{path}: holds no JSON object, expected one. Run the step again")
    return table


def _told(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate(_table(path))
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: {printable(place, 200)}: {first['msg']}. Run the step again") from None
