"""The two files of a sizing: what was decided, and on what evidence.

`students.json` holds decisions only. Two runs that decide the same write the same bytes, so later steps, which hash it,
do not start again because a measured time came out a little different. Everything measured, and all that follows from
it, stands in `sizing.json`.

A space may hold many students, so both files have tables: `columns` names what each list in `students`, or by
candidate in `forecasts`, holds. What a student shares with the teacher is not repeated, nor what follows from other
columns; after reading, `StudentsFile` and `SizingFile` hold it all as objects. See tables.py. Of more than 10 000
students the ones that matter are listed (writing.py says which), and both files say how many there are.

History of the format
    3.2  forecasts, measurements and fits of the energy of an inference; 3.1 is still read.
    3.1  `trials`: what short distillations told.
    3.0  students have a sequence; `possible`, `front`, `compare`, `predicted` and `error`; very large spaces are not
         listed whole.
    2.0  tables of students and forecasts, a line each.
    1.0  an object for each student and forecast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from edgekd.config import Model
from edgekd.cost.calibrate import Fit
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json
from edgekd.sizing.tables import (
    FORECAST_COLUMNS,
    MOST_PARAMETERS,
    WITHOUT_ENERGY,
    forecast_table,
    rows_in,
    student_columns,
    student_table,
)
from edgekd.student import StudentSpec
from edgekd.text import printable

SCHEMA_VERSION, READ_VERSIONS = "3.2", ("3.1", "3.2")

ENDED = {
    "finished": "trained to the last rung",
    "halved": "others were better at its last rung",
    "pruned": "ended early, its curve could not reach the others",
    "diverged": "ended, its loss was no number",
    "cut": "ended by the time",
}


class RooflineRow(Model):
    """The uncalibrated interval of one inference in seconds; None where the device profile lacks a number."""

    low_s: float | None
    mid_s: float | None
    high_s: float | None
    bound: Literal["compute", "memory", "unknown"]
    note: str


class PriceRow(Model):
    """What a student takes in one precision: exact counts, and what they should lead to."""

    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    memory_bytes: int
    roofline: RooflineRow


class StudentRow(Model):
    """A student of the space, at one length of input.

    `capacity` is its parameters outside the embeddings, `share` all of them against the teacher's.
    """

    id: str
    spec: dict[str, Any]
    sequence: int
    parameters: int = Field(gt=0, lt=MOST_PARAMETERS)
    capacity: int
    share: float
    macs: int
    prices: dict[str, PriceRow]
    warnings: list[str]

    @field_validator("spec")
    @classmethod
    def _possible(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            StudentSpec.from_dict(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    @property
    def student(self) -> StudentSpec:
        """The spec as an object."""
        return StudentSpec.from_dict(self.spec)


class StudentsFile(Model):
    """What was decided: the students of the space, and the one to train. `chosen` is None when none keeps the SLA.

    `considered` counts combinations and `possible` those of them that are students, of which `students` may list only
    a part; it is None in a space that was searched and not counted. `sequence` is that of the chosen student.
    """

    schema_version: Literal["3.1", "3.2"] = "3.2"
    kind: Literal["students"] = "students"
    device: str
    precisions: list[str]
    batch: int
    sequence: int
    threads: int
    teacher: StudentRow
    considered: int
    possible: int | None
    refused: dict[str, int]
    warnings: list[str]
    students: list[StudentRow]
    chosen: str | None
    reason: str

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, value: dict[str, Any]) -> dict[str, Any]:
        table = dict(value)
        columns, precisions = table.pop("columns", None), table.get("precisions")
        try:
            teacher = StudentRow.model_validate(table.get("teacher"))
        except ValidationError:
            return {**table, "students": []}  # the validation that follows says what is wrong with the teacher
        if not isinstance(precisions, list) or sorted(map(repr, precisions)) != sorted(map(repr, teacher.prices)):
            raise ValueError("precisions are not those that the teacher has prices in")
        wanted = student_columns(precisions)
        if columns != wanted:
            raise ValueError(f"columns are not those of schema_version {SCHEMA_VERSION}")
        notes = {precision: teacher.prices[precision].roofline.note for precision in precisions}
        rows = rows_in(table.get("students"), wanted, "students")
        students = [student_table(row, teacher.spec, teacher.parameters, notes) for row in rows]
        return {**table, "students": students}

    @model_validator(mode="after")
    def _chosen_is_listed(self) -> StudentsFile:
        if self.chosen is not None and all(row.id != self.chosen for row in self.students):
            raise ValueError(f"the chosen student {self.chosen!r} is not among the students")
        return self

    @property
    def chosen_student(self) -> StudentSpec | None:
        """The spec of the chosen student."""
        return next((row.student for row in self.students if row.id == self.chosen), None)


class IntervalRow(Model):
    """A value and where it should lie."""

    low: float
    mid: float
    high: float


class ForecastRow(Model):
    """What a candidate should take; `latency_s` and `energy_j` are None when nothing is known about them."""

    latency_s: IntervalRow | None
    memory_bytes: IntervalRow
    size_bytes: IntervalRow
    energy_j: IntervalRow | None


class MeasurementRow(Model):
    """What a candidate took, untrained, on the host; the energy is from `rail`, None where no rail told."""

    latency_s: float
    spread: float
    low_s: float
    high_s: float
    peak_memory_bytes: int | None
    size_bytes: int | None
    energy_j: float | None = None
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    rail: str | None = None


class FitRow(Model):
    """The fits of one precision (see `edgekd.cost.calibrate.Fit`); None where too few students were measured."""

    latency: dict[str, Any] | None
    memory: dict[str, Any] | None
    size: dict[str, Any] | None
    energy: dict[str, Any] | None = None

    @field_validator("latency", "memory", "size", "energy")
    @classmethod
    def _possible(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Fit.from_dict(value)
            except RecordError as error:
                raise ValueError(str(error)) from None
        return value


class LimitRow(Model):
    """A limit that was applied."""

    name: str
    quantity: str
    value: float
    percentile: float


class ObstacleRow(Model):
    """What stood in the way (see `edgekd.sizing.obstacle.Obstacle`)."""

    limit: str
    limit_value: float
    student: str
    precision: str
    value: float | None
    ratio: float | None
    measured: bool
    certain: bool
    impossible: list[str]
    advice: list[str]
    text: str


class FrontRow(Model):
    """How many candidates the Pareto set has.

    Of a very large space it is found among a part: students of the rest may be more capable than one of it by the share
    `within`, None where nobody knows; 0 when the set is that of the whole space.
    """

    candidates: int
    within: float | None


class ErrorRow(Model):
    """How far predictions were from what was measured afterwards (see `edgekd.sizing.measuring.PredictionError`)."""

    candidates: int
    held: int
    median: float
    worst: float


class CurveRow(Model):
    """One evaluation of a trial on the validation part: mean cross entropy in nats, share of right answers."""

    step: int
    loss: float
    accuracy: float


class TrialRow(Model):
    """A student's trial (see `edgekd.sizing.quality.Tried`).

    `loss` and `accuracy` are those at `rung`, the last one at which it was compared; None for one that never was.
    """

    rung: int | None
    steps: int
    seconds: float
    loss: float | None
    accuracy: float | None
    ended: Literal["finished", "halved", "pruned", "diverged", "cut"]
    curve: list[CurveRow]


class TrialsRow(Model):
    """The trials of a search (see `edgekd.sizing.quality.Trials`), by student.

    `rungs` are optimiser steps, `examples` those of the validation part that were compared. `decided` says whether the
    losses alone chose, or capacity among students that they could not tell apart, or capacity because nothing was told.
    """

    rungs: list[int]
    eta: int
    budget_s: float
    seconds: float
    cut: bool
    examples: int
    decided: Literal["loss", "capacity", "nothing"]
    students: dict[str, TrialRow]


class SizingFile(Model):
    """The evidence behind a `students.json`; students by id, candidates as ID-PRECISION.

    `compare` is which end of an interval had to keep a limit, `predicted` the latency in seconds that finalists should
    have had before they were measured, `pareto` lists the front or an even part of it.
    """

    schema_version: Literal["3.1", "3.2"] = "3.2"
    kind: Literal["sizing"] = "sizing"
    limits: list[LimitRow]
    compare: Literal["upper", "middle"]
    calibrated: list[str]
    finalists: list[str]
    repeated: list[str]
    measurements: dict[str, MeasurementRow]
    predicted: dict[str, IntervalRow]
    error: ErrorRow | None
    fits: dict[str, FitRow]
    forecasts: dict[str, ForecastRow]
    front: FrontRow
    pareto: list[str]
    chosen: str | None
    fitting: list[str]
    obstacle: ObstacleRow | None
    trials: TrialsRow | None

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, value: dict[str, Any]) -> dict[str, Any]:
        table = dict(value)
        forecasts = table.get("forecasts")
        columns = WITHOUT_ENERGY if table.get("schema_version") == "3.1" else FORECAST_COLUMNS
        if table.pop("columns", None) != list(columns) or not isinstance(forecasts, dict):
            raise ValueError(f"columns are not those of schema_version {table.get('schema_version')}")
        rows = rows_in(list(forecasts.values()), columns, "forecasts")
        return {**table, "forecasts": dict(zip(forecasts, map(forecast_table, rows), strict=True))}


def read_students(path: Path) -> StudentsFile:
    """The decisions in the file at `path`. Errors: InputError when unreadable, RecordError when it is no such file."""
    return _read(path, StudentsFile, "students")


def read_sizing(path: Path) -> SizingFile:
    """The evidence in the file at `path`. Errors: InputError when unreadable, RecordError when it is no such file."""
    return _read(path, SizingFile, "sizing")


M = TypeVar("M", bound=Model)


def _read(path: Path, model: type[M], kind: str) -> M:
    table = read_json(path)
    if not isinstance(table, dict) or table.get("kind") != kind or "schema_version" not in table:
        raise RecordError(f"{path}: is no {kind}.json of edgekd (kind and schema_version). Make one: edgekd size")
    version = table["schema_version"]
    if version not in READ_VERSIONS:
        found = printable(repr(version), 40)
        raise RecordError(f"{path}: has schema_version {found}, this edgekd reads {SCHEMA_VERSION}. Make it again")
    try:
        return model.model_validate(table)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RecordError(f"{path}: {printable(place, 200)}: {printable(message, 300)}. Make it again") from None
