"""Students side by side, with their capacity and their speed against the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekd.errors import InputError
from edgekd.sizing.explain.known import Known, Level, Outlook, Placed, finite
from edgekd.sizing.explain.pick import meaning, picked
from edgekd.sizing.price import warnings_from_share
from edgekd.units import text_from_s

REFERENCE_PRECISION = "fp32"  # the teacher is exported in it, so a student replaces that


@dataclass(frozen=True, slots=True)
class Cell:
    """A student in one precision. `speed_up` is the teacher's latency over its own; None when either is unknown."""

    outlook: Outlook
    levels: dict[str, Level]
    speed_up: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self.outlook.to_dict(), "limits": dict(self.levels), "speed_up": self.speed_up}


@dataclass(frozen=True, slots=True)
class Column:
    """A student under the `word` that asked for it; cells are by precision."""

    word: str
    student: Placed
    capacity_share: float
    macs: int
    cells: dict[str, Cell]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "asked": self.word,
            "student": self.student.name,
            "spec": self.student.spec.to_dict(),
            "sequence": self.student.sequence,
            "parameters": self.student.parameters,
            "capacity": self.student.capacity,
            "capacity_share": self.capacity_share,
            "macs": self.macs,
            "precisions": {precision: cell.to_dict() for precision, cell in self.cells.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Columns of students. `reference` is the precision of the teacher that speeds are told against."""

    device: str
    batch: int
    threads: int
    precisions: tuple[str, ...]
    reference: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "device": self.device,
            "batch": self.batch,
            "threads": self.threads,
            "reference_precision": self.reference,
            "students": [column.to_dict() for column in self.columns],
            "notes": list(self.notes),
        }


def side_by_side(known: Known, words: Sequence[str]) -> SideBySide:
    """The students that `words` mean, in that order. Errors: InputError for a word that means none."""
    if not words:
        raise InputError("--compare: found no student, expected names with commas between, such as small,medium,large")
    reference = REFERENCE_PRECISION if REFERENCE_PRECISION in known.precisions else known.precisions[0]
    columns = tuple(_column(known, word, picked(known, word), reference) for word in words)
    said = [meaning(known, words), _teachers_speed(known, reference)]
    return SideBySide(
        device=known.profile.name,
        batch=known.batch,
        threads=known.threads,
        precisions=tuple(known.precisions),
        reference=reference,
        columns=columns,
        notes=(*filter(None, said), *known.notes, *known.trials_of([column.student.name for column in columns])),
    )


def _teachers_speed(known: Known, reference: str) -> str:
    """What speeds are told against, where nobody measured it."""
    latency = known.best_known(known.teacher, reference).latency
    if latency is None or latency.measured:
        return ""
    return (
        f"speeds are against a predicted latency of the teacher, {text_from_s(latency.mid)} "
        f"({text_from_s(latency.low)} to {text_from_s(latency.high)})"
    )


def _column(known: Known, word: str, student: Placed, reference: str) -> Column:
    teacher = known.best_known(known.teacher, reference)
    cells = {}
    for precision in known.precisions:
        outlook = known.best_known(student, precision)
        cells[precision] = Cell(outlook, known.levels(outlook), _speed_up(teacher, outlook))
    return Column(
        word=word,
        student=student,
        capacity_share=student.capacity / known.teacher.capacity,
        macs=round(known.pass_of(student, reference).features["macs"]),
        cells=cells,
        warnings=warnings_from_share(student.parameters / known.teacher.parameters),
    )


def _speed_up(teacher: Outlook, student: Outlook) -> float | None:
    if teacher.latency is None or student.latency is None or not student.latency.mid:
        return None
    return finite(teacher.latency.mid / student.latency.mid)
