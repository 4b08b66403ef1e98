"""Latency calibrations as a file: which prices were fitted where, to what, and how well they did.

A calibration belongs to one board with one runtime; the file stands beside the board's profile, with the records that
the prices came from. Nothing here needs NumPy.

History of the format
    1.0  first.
    1.1  `level` of calibrations: the sentinel's undisturbed time by the size of the student before it; `phase`.
    1.2  `energy`, the fit of the joules of an inference, with its `rail` and how well it did. `by_size` of the level:
         how much students of each size feel what slows the sentinel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from edgekd.config import Model
from edgekd.cost.calibrate import Fit
from edgekd.errors import RecordError
from edgekd.files import read_json, write_json
from edgekd.record import HostFacts, Runtime
from edgekd.student import Precision
from edgekd.text import printable

SCHEMA_VERSION, READ_VERSIONS = "1.2", ("1.0", "1.1", "1.2")
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


class LeftOut(Model):
    """How well each measured student was predicted by a fit to all others.

    `within_10` and `within_5` are the shares off by less than 10 and 5 %, `covered` that inside its interval.
    """

    students: Annotated[int, Field(ge=0)]
    within_10: Share
    within_5: Share
    median_error: Amount
    covered: Share


class SizeSensitivity(Model):
    """By which power of the sentinel's slowness students were slower whose least time is exp(`log_s`) seconds."""

    log_s: float
    power: Amount


class SentinelLevel(Model):
    """The curve of the sentinel's undisturbed time over the time of the student before it; see bench.windows.Curve.

    All four are natural logarithms of seconds, `rise` of a ratio. `by_size` is in rising order; without any, as in
    files before 1.2, students of all sizes have the `sensitivity` of the calibration.
    """

    low: float
    rise: Amount
    middle: float
    floor: float
    by_size: list[SizeSensitivity] = Field(default_factory=list)


class Calibration(Model):
    """The prices of one family in one precision. `sequences` are the lengths that were measured; 0 stands for images.

    `phase` says what one inference does: the whole of it, or of a language model the reading of a prompt (prefill) or
    of one token more after as many as `sequences` say (decode).

    `quiet_sentinel_s` is the sentinel's time on the undisturbed board, `quiet_error` its relative error: all seconds
    that the prices give are at that level. `level` is the whole curve of it, by which times that are measured later are
    compared; files before 1.1 have none. `energy` is of the whole board, from its `rail`; None without rails, and in
    files before 1.2. `records` names the folder of the paired records, beside the file.
    """

    architecture: str
    phase: Literal["whole", "prefill", "decode"] = "whole"
    precision: Precision
    batch: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    sequences: Annotated[list[int], Field(min_length=1)]
    measured: str
    host: HostFacts
    runtime: Runtime
    quiet_sentinel_s: Annotated[float, Field(gt=0)]
    quiet_error: Amount
    sensitivity: Share
    level: SentinelLevel | None = None
    latency: dict[str, Any]
    memory: dict[str, Any] | None
    energy: dict[str, Any] | None = None
    rail: str | None = None
    left_out: LeftOut
    energy_left_out: LeftOut | None = None
    records: str
    notes: list[str]

    @field_validator("latency", "memory", "energy")
    @classmethod
    def _possible(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Fit.from_dict(value)
            except RecordError as error:
                raise ValueError(str(error)) from None
        return value

    @property
    def latency_fit(self) -> Fit:
        """Seconds from the terms of edgekd.cost.terms."""
        return Fit.from_dict(self.latency)

    @property
    def memory_fit(self) -> Fit | None:
        """Peak bytes from weight_bytes and peak_activation_bytes, or None when no board told its peak."""
        return None if self.memory is None else Fit.from_dict(self.memory)

    @property
    def energy_fit(self) -> Fit | None:
        """Joules from the terms of edgekd.cost.energy, or None when no rail told."""
        return None if self.energy is None else Fit.from_dict(self.energy)

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What a calibration is for: a newer one of the same key takes its place."""
        return self.architecture, self.phase, self.precision, self.batch, self.threads


class CalibrationFile(Model):
    """All calibrations of one board."""

    schema_version: Literal["1.0", "1.1", "1.2"] = "1.2"
    kind: Literal["calibration"] = "calibration"
    calibrations: list[Calibration]


def write_calibrations(calibrations: Sequence[Calibration], path: Path) -> None:
    """Store `calibrations` at `path`, whole or not at all. Errors: StorageError, InputError."""
    write_json(path, CalibrationFile(calibrations=list(calibrations)).model_dump(mode="json"))


def read_calibrations(path: Path) -> list[Calibration]:
    """The calibrations in the file at `path`. Errors: InputError when unreadable, RecordError when it is none."""
    table = read_json(path)
    if not isinstance(table, dict) or table.get("kind") != "calibration":
        raise RecordError(f"{path}: is no calibration file of edgekd. Make one: edgekd devices calibrate")
    if table.get("schema_version") not in READ_VERSIONS:
        found = printable(repr(table.get("schema_version")), 40)
        raise RecordError(f"{path}: has schema_version {found}, this edgekd reads {SCHEMA_VERSION}. Calibrate again")
    try:
        return CalibrationFile.model_validate(table).calibrations
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RecordError(f"{path}: {printable(place, 200)}: {printable(message, 300)}. Calibrate again") from None


def with_calibration(known: Sequence[Calibration], new: Sequence[Calibration]) -> list[Calibration]:
    """`known` with each of `new` in the place of the one of its key, in a fixed order."""
    table = {one.key: one for one in [*known, *new]}
    return [table[key] for key in sorted(table)]
