"""The two files of a sizing: what was decided, and on what evidence.

`students.json` holds decisions only. Two runs that decide the same write the same bytes, so later steps, which hash it,
do not start again because a measured time came out a little different. Everything measured, and all that follows from
it, stands in `sizing.json`.

A space may hold 100 000 students, so both files have tables: `columns` names what each list in `students`, or by
candidate in `forecasts`, holds. What a student shares with the teacher is not repeated, nor what follows from other
columns; after reading, `StudentsFile` and `SizingFile` hold it all as objects. See tables.py.

History of the format
    2.0  tables of students and forecasts, a line each.
    1.0  an object for each student and forecast.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from edgekd.config import Model
from edgekd.cost.calibrate import Fit
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, write_text
from edgekd.sizing.forecast import Fits
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.search import Sizing
from edgekd.sizing.tables import (
    FORECAST_COLUMNS,
    MOST_PARAMETERS,
    forecast_row,
    forecast_table,
    lines_text,
    price_table,
    rows_in,
    student_columns,
    student_row,
    student_table,
)
from edgekd.student import StudentSpec
from edgekd.text import printable

SCHEMA_VERSION = "2.0"


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
    """A student of the space. `capacity` is its parameters outside the embeddings, `share` that of the teacher's."""

    id: str
    spec: dict[str, Any]
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
    """What was decided: the students of the space, and the one to train. `chosen` is None when none keeps the SLA."""

    schema_version: Literal["2.0"] = "2.0"
    kind: Literal["students"] = "students"
    device: str
    precisions: list[str]
    batch: int
    sequence: int
    threads: int
    teacher: StudentRow
    considered: int
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
    """What a candidate should take; `latency_s` is None when nothing is known about it."""

    latency_s: IntervalRow | None
    memory_bytes: IntervalRow
    size_bytes: IntervalRow


class MeasurementRow(Model):
    """What a candidate took, untrained, on the host."""

    latency_s: float
    spread: float
    low_s: float
    high_s: float
    peak_memory_bytes: int | None
    size_bytes: int | None


class FitRow(Model):
    """The fits of one precision (see `edgekd.cost.calibrate.Fit`); None where too few students were measured."""

    latency: dict[str, Any] | None
    memory: dict[str, Any] | None
    size: dict[str, Any] | None

    @field_validator("latency", "memory", "size")
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


class SizingFile(Model):
    """The evidence behind a `students.json`; students by id, candidates as ID-PRECISION."""

    schema_version: Literal["2.0"] = "2.0"
    kind: Literal["sizing"] = "sizing"
    limits: list[LimitRow]
    calibrated: list[str]
    finalists: list[str]
    repeated: list[str]
    measurements: dict[str, MeasurementRow]
    fits: dict[str, FitRow]
    forecasts: dict[str, ForecastRow]
    pareto: list[str]
    chosen: str | None
    fitting: list[str]
    obstacle: ObstacleRow | None

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, value: dict[str, Any]) -> dict[str, Any]:
        table = dict(value)
        forecasts = table.get("forecasts")
        if table.pop("columns", None) != list(FORECAST_COLUMNS) or not isinstance(forecasts, dict):
            raise ValueError(f"columns are not those of schema_version {SCHEMA_VERSION}")
        rows = rows_in(list(forecasts.values()), FORECAST_COLUMNS, "forecasts")
        return {**table, "forecasts": dict(zip(forecasts, map(forecast_table, rows), strict=True))}


def write_students(sizing: Sizing, path: Path) -> None:
    """Store what `sizing` decided at `path`, without a measured number. Errors: StorageError, InputError."""
    table = {
        "schema_version": SCHEMA_VERSION,
        "kind": "students",
        "device": sizing.device,
        "precisions": sizing.setting.precisions,
        "batch": sizing.setting.batch,
        "sequence": sizing.setting.sequence,
        "threads": sizing.setting.threads,
        "teacher": _teacher_table(sizing.teacher),
        "considered": sizing.enumeration.considered,
        "refused": sizing.enumeration.refused,
        "warnings": sizing.enumeration.warnings,
        "columns": student_columns(sizing.setting.precisions),
        "students": [student_row(student) for student in sizing.students],
        "chosen": sizing.chosen.name if sizing.chosen else None,
        "reason": sizing.reason,
    }
    write_text(path, lines_text(table))


def write_sizing(sizing: Sizing, path: Path) -> None:
    """Store the evidence of `sizing` at `path`. Errors: StorageError, InputError."""
    table = {
        "schema_version": SCHEMA_VERSION,
        "kind": "sizing",
        "limits": [asdict(limit) for limit in sizing.limits],
        "calibrated": sizing.calibrated,
        "finalists": sizing.finalists,
        "repeated": sizing.repeated,
        "measurements": {name: asdict(found) for name, found in sizing.measurements.items()},
        "fits": {precision: _fit_table(fits) for precision, fits in sizing.fits.items()},
        "columns": FORECAST_COLUMNS,
        "forecasts": {name: forecast_row(forecast) for name, forecast in sizing.forecasts.items()},
        "pareto": sizing.pareto,
        "chosen": sizing.chosen.name if sizing.chosen else None,
        "fitting": sizing.fitting,
        "obstacle": sizing.obstacle.to_dict() if sizing.obstacle else None,
    }
    write_text(path, lines_text(table))


def read_students(path: Path) -> StudentsFile:
    """The decisions in the file at `path`. Errors: InputError when unreadable, RecordError when it is no such file."""
    return _read(path, StudentsFile, "students")


def read_sizing(path: Path) -> SizingFile:
    """The evidence in the file at `path`. Errors: InputError when unreadable, RecordError when it is no such file."""
    return _read(path, SizingFile, "sizing")


def _teacher_table(teacher: PricedStudent) -> dict[str, Any]:
    return {
        "id": teacher.name,
        "spec": teacher.spec.to_dict(),
        "parameters": teacher.parameters,
        "capacity": teacher.capacity,
        "share": teacher.share,
        "macs": teacher.macs,
        "prices": {precision: price_table(price) for precision, price in teacher.prices.items()},
        "warnings": teacher.warnings,
    }


def _fit_table(fits: Fits) -> dict[str, Any]:
    tables = {name: getattr(fits, name) for name in ("latency", "memory", "size")}
    return {name: fit.to_dict() if fit else None for name, fit in tables.items()}


M = TypeVar("M", bound=Model)


def _read(path: Path, model: type[M], kind: str) -> M:
    table = read_json(path)
    if not isinstance(table, dict) or table.get("kind") != kind or "schema_version" not in table:
        raise RecordError(f"{path}: is no {kind}.json of edgekd (kind and schema_version). Make one: edgekd size")
    version = table["schema_version"]
    if version != SCHEMA_VERSION:
        found = printable(repr(version), 40)
        raise RecordError(f"{path}: has schema_version {found}, this edgekd reads {SCHEMA_VERSION}. Make it again")
    try:
        return model.model_validate(table)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RecordError(f"{path}: {printable(place, 200)}: {printable(message, 300)}. Make it again") from None
