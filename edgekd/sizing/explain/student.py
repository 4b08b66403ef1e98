"""One student explained: where its time and memory go, what bounds them, and what one step would buy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgekd.sizing.explain.known import Known, Level, Outlook, Placed
from edgekd.sizing.explain.memory import MemorySplit, memory_of
from edgekd.sizing.explain.steps import Step, steps_of
from edgekd.sizing.explain.time import TimeSplit, time_of
from edgekd.sizing.price import warnings_from_share


@dataclass(frozen=True, slots=True)
class View:
    """A student in one precision. `outlook` is measured where it could be, `levels` tells how it stands to limits.

    `energy` are the joules of the predicted energy by the term that causes them; empty where no rail told.
    """

    precision: str
    outlook: Outlook
    levels: dict[str, Level]
    time: TimeSplit
    memory: MemorySplit
    steps: tuple[Step, ...]
    energy: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "precision": self.precision,
            "best_known": self.outlook.to_dict(),
            "limits": dict(self.levels),
            "time": self.time.to_dict(),
            "memory": self.memory.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "energy": dict(self.energy),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A student with the `standing` it has in the sizing ('chosen', 'nearest', 'teacher' or none), and its views.

    `capacity_share` is its capacity against the teacher's, `macs` those of one inference.
    """

    student: Placed
    standing: str
    device: str
    batch: int
    threads: int
    capacity_share: float
    macs: int
    views: tuple[View, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "student": self.student.name,
            "standing": self.standing,
            "spec": self.student.spec.to_dict(),
            "device": self.device,
            "batch": self.batch,
            "sequence": self.student.sequence,
            "threads": self.threads,
            "parameters": self.student.parameters,
            "capacity": self.student.capacity,
            "capacity_share": self.capacity_share,
            "macs": self.macs,
            "precisions": [view.to_dict() for view in self.views],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def explained(known: Known, student: Placed) -> Explanation:
    """`student` in every precision, those first in which it keeps every limit. Errors: SpecError, RecordError."""
    views = tuple(_view(known, student, precision) for precision in _ordered(known, student))
    return Explanation(
        student=student,
        standing=_standing(known, student),
        device=known.profile.name,
        batch=known.batch,
        threads=known.threads,
        capacity_share=student.capacity / known.teacher.capacity,
        macs=round(known.pass_of(student, known.precisions[0]).features["macs"]),
        views=views,
        warnings=warnings_from_share(student.parameters / known.teacher.parameters),
        notes=(*known.notes, *known.trials_of([student.name])),
    )


def _ordered(known: Known, student: Placed) -> list[str]:
    first = known.fitting if student.name == known.chosen else known.keeps_all(student)
    return sorted(known.precisions, key=lambda precision: precision not in first)


def _standing(known: Known, student: Placed) -> str:
    if student is known.teacher:
        return "teacher"
    return {known.chosen: "chosen", known.nearest: "nearest"}.get(student.name, "")


def _view(known: Known, student: Placed, precision: str) -> View:
    outlook = known.best_known(student, precision)
    return View(
        precision=precision,
        outlook=outlook,
        levels=known.levels(outlook),
        time=time_of(known, student, precision),
        memory=memory_of(known, student, precision),
        steps=tuple(steps_of(known, student, precision)),
        energy=known.energy_parts(student, precision),
    )
