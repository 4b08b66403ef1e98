"""Which visits of a campaign were made under another condition than the rest, from the sentinel and from repetition.

A visit is one paired run of one student. Ratios cancel most of what a board does to both models, but not all: a board
that slows its clock in the middle slows its memory less, so a visit at another level of the sentinel is evidence of
another machine. It is measured again, and not explained away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

QUIET_SHARE = 0.25  # our choice: a quarter of the visits at least is taken to be undisturbed
SLOWER_BY = 1.25  # our choice: a step of a governor or a throttle moves more than this, pairs on a busy machine less
BRIDGED = 1  # a single undisturbed visit between disturbed ones belongs to their window
TORN_LEAST = 0.06  # as a logarithm: pairs repeat to about 2 %, so this is three times what is usual
TORN_TIMES = 5.0  # times the usual deviation


@dataclass(frozen=True, slots=True)
class Visit:
    """One paired run: how many times the sentinel's time a student took, the standard error, and that time."""

    name: str
    ratio: float
    error: float
    level_s: float


@dataclass(frozen=True, slots=True)
class Window:
    """Visits `first` to `last`, in the order of time, at `slower` times the quiet level of the sentinel."""

    first: int
    last: int
    slower: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What stood out: windows at another level, and single visits that disagree with the others of their student."""

    quiet_s: float
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
    return Findings(quiet_s, windows, _torn(visits, inside))


def _windows(slower: Sequence[float]) -> tuple[Window, ...]:
    marked = [index for index, value in enumerate(slower) if value > SLOWER_BY]
    spans: list[list[int]] = []
    for index in marked:
        if spans and index - spans[-1][1] <= BRIDGED + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return tuple(Window(first, last, median(slower[first : last + 1])) for first, last in spans)


def _torn(visits: Sequence[Visit], inside: set[int]) -> tuple[int, ...]:
    """Visits outside of windows that are far from the median of their student, when there are three of it at least."""
    by_name: dict[str, list[int]] = {}
    for index, visit in enumerate(visits):
        if index not in inside:
            by_name.setdefault(visit.name, []).append(index)
    off: dict[int, float] = {}
    for indices in by_name.values():
        middle = median(math.log(visits[index].ratio) for index in indices)
        if len(indices) > 2:
            off |= {index: abs(math.log(visits[index].ratio) - middle) for index in indices}
    if not off:
        return ()
    most = max(TORN_LEAST, TORN_TIMES * median(off.values()))
    return tuple(sorted(index for index, value in off.items() if value > most))
