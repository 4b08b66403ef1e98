"""How long each student is tried: the rungs of successive halving, laid out so that they fit the time.

All students are trained to the first rung, the best third of them on to the second, three times as long, and so on; the
last rung has at least two students, for one alone is compared with nobody.
Source: Jamieson and Talwalkar 2016, arXiv:1502.07943; a third as in Li et al. 2018, arXiv:1603.06560.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ETA = 3
POINTS = 4  # evaluations on the way to the first rung, our choice: enough for a slope
LEAST_STEPS = 2 * POINTS  # of the first rung, our choice: fewer tell of the first weights alone
RESERVE = 0.8  # of the time is planned, our choice: paces are measured for seconds, and trained for minutes


@dataclass(frozen=True, slots=True)
class Pace:
    """What one student takes on this machine: seconds of a step, an evaluation, and of starting and saving."""

    step_s: float
    evaluation_s: float
    start_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is tried, for how many steps in all at each of `rungs`, evaluated every `every` steps."""

    students: tuple[str, ...]
    rungs: tuple[int, ...]
    every: int

    def width(self, rung: int) -> int:
        """How many students are trained to `rung`."""
        return widths(len(self.students))[rung]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Plan:
        """The plan in `table`."""
        return cls(tuple(table["students"]), tuple(table["rungs"]), int(table["every"]))


def widths(students: int) -> list[int]:
    """How many students each rung has: all, then a third each time, rounded up, while two are left."""
    found = [students]
    while (following := -(-found[-1] // ETA)) >= 2 and following < found[-1]:
        found.append(following)
    return found


def planned(paces: Mapping[str, Pace], seconds: float, most_steps: int) -> Plan | None:
    """The longest rungs for the students of `paces` that end within `seconds`; None when not even two students fit.

    Students are left out from the end until the rest fits. No rung is longer than `most_steps`, which is what the whole
    distillation takes. The slowest students are taken to survive.
    """
    names = list(paces)
    while len(names) >= 2:
        found = _longest(names, [paces[name] for name in names], RESERVE * seconds, most_steps)
        if found is not None:
            return found
        names.pop()
    return None


def _longest(names: Sequence[str], paces: Sequence[Pace], seconds: float, most_steps: int) -> Plan | None:
    rungs = len(widths(len(names)))
    low, high = LEAST_STEPS, max(LEAST_STEPS, most_steps // ETA ** (rungs - 1))
    if duration_s(paces, low) > seconds:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if duration_s(paces, middle) <= seconds else (low, middle - 1)
    return Plan(tuple(names), tuple(low * ETA**rung for rung in range(rungs)), _every(low))


def duration_s(paces: Sequence[Pace], first: int) -> float:
    """How long all rungs take when the first has `first` steps and the slowest students survive."""
    every, total, before = _every(first), 0.0, 0
    slowest = sorted(paces, key=lambda pace: pace.step_s, reverse=True)
    for rung, width in enumerate(widths(len(paces))):
        steps = first * ETA**rung - before
        evaluations = -(-steps // every)
        total += sum(p.start_s + steps * p.step_s + evaluations * p.evaluation_s for p in slowest[:width])
        before += steps
    return total


def _every(first: int) -> int:
    return -(-first // POINTS)
