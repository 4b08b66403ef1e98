"""Which visits of a campaign were made under another condition than the rest, and how to compare those that were not.

A visit is one paired run of one student. What disturbs a board in passing (a neighbour in its caches, a clock that
wavers) disturbs the small sentinel and the students, but not by the same factor. By which, the campaign knows itself:
visits of one student at different levels of the sentinel show how much of a change of the level it feels. That share is
the sensitivity, and times are compared at the sentinel's quiet level. A visit far from that level is another matter: a
board that throttles is another machine, so the visit is made again, and not explained away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

QUIET_SHARE = 0.25  # our choice: a quarter of the visits at least is taken to be undisturbed
SLOWER_BY = 1.25  # our choice: a step of a governor or a throttle moves more than this, pairs on a busy machine less
BRIDGED = 1  # a single undisturbed visit between disturbed ones belongs to their window
TORN_LEAST = 0.06  # as a logarithm: pairs repeat to about 2 %, so this is three times what is usual
TORN_TIMES = 5.0  # times the usual deviation
USUAL_SENSITIVITY = 0.5  # benchmarks/predictor/live.py measures it: 0.4 to 0.55 on x86-64 virtual machines
USUAL_WEIGHT = 5 * 0.05**2  # our choice: as sure of it as five visits that differ by 5 % could make us


@dataclass(frozen=True, slots=True)
class Visit:
    """One paired run: the times of student and sentinel in it, and the relative standard error of the first."""

    name: str
    model_s: float
    level_s: float
    error: float

    def at(self, quiet_s: float, sensitivity: float) -> float:
        """The student's time as it would have been at the sentinel's level `quiet_s`."""
        return self.model_s * math.pow(quiet_s / self.level_s, sensitivity)


@dataclass(frozen=True, slots=True)
class Window:
    """Visits `first` to `last`, in the order of time, at `slower` times the quiet level of the sentinel."""

    first: int
    last: int
    slower: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What stood out: windows at another level, and single visits that disagree with the others of their student.

    `quiet_s` is the sentinel's level that times are compared at, by `sensitivity`.
    """

    quiet_s: float
    sensitivity: float
    windows: tuple[Window, ...]
    torn: tuple[int, ...]

    @property
    def doubtful(self) -> set[int]:
        """The positions of all visits that are not to be believed alone."""
        inside = {index for window in self.windows for index in range(window.first, window.last + 1)}
        return inside | set(self.torn)


def findings(visits: Sequence[Visit]) -> Findings:
    """What stands out among `visits`, of which there is one at least; they are in the order of time."""
    levels_s = sorted(visit.level_s for visit in visits)
    quiet_s = levels_s[int(QUIET_SHARE * len(levels_s))]
    windows = _windows([visit.level_s / quiet_s for visit in visits])
    inside = {index for window in windows for index in range(window.first, window.last + 1)}
    steady = [visit for index, visit in enumerate(visits) if index not in inside]
    sensitivity = sensitivity_of(steady)
    return Findings(quiet_s, sensitivity, windows, _torn(visits, inside, sensitivity))


def sensitivity_of(visits: Sequence[Visit]) -> float:
    """By which power of the sentinel's level students get slower: 0 not at all, 1 as much as the sentinel.

    The slope of a student's log time over the log level between its own visits, pooled over students; with few visits,
    or hardly different ones, the usual value.
    """
    together, alone = USUAL_SENSITIVITY * USUAL_WEIGHT, USUAL_WEIGHT
    for own in _by_name(visits).values():
        times, levels = ([math.log(value) for value in column] for column in zip(*own, strict=True))
        time, level = fmean(times), fmean(levels)
        together += sum((one - time) * (other - level) for one, other in zip(times, levels, strict=True))
        alone += sum((other - level) ** 2 for other in levels)
    return min(max(together / alone, 0.0), 1.0)


def _by_name(visits: Sequence[Visit]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for visit in visits:
        found.setdefault(visit.name, []).append((visit.model_s, visit.level_s))
    return found


def _windows(slower: Sequence[float]) -> tuple[Window, ...]:
    marked = [index for index, value in enumerate(slower) if value > SLOWER_BY]
    spans: list[list[int]] = []
    for index in marked:
        if spans and index - spans[-1][1] <= BRIDGED + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return tuple(Window(first, last, median(slower[first : last + 1])) for first, last in spans)


def _torn(visits: Sequence[Visit], inside: set[int], sensitivity: float) -> tuple[int, ...]:
    """Visits outside of windows that are far from the median of their student, when there are three of it at least."""
    by_name: dict[str, list[int]] = {}
    for index, visit in enumerate(visits):
        if index not in inside:
            by_name.setdefault(visit.name, []).append(index)
    off: dict[int, float] = {}
    for indices in by_name.values():
        logs = [math.log(visits[index].at(1.0, sensitivity)) for index in indices]
        middle = median(logs)
        if len(indices) > 2:
            off |= {index: abs(value - middle) for index, value in zip(indices, logs, strict=True)}
    if not off:
        return ()
    most = max(TORN_LEAST, TORN_TIMES * median(off.values()))
    return tuple(sorted(index for index, value in off.items() if value > most))
