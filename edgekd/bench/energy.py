"""The energy of one inference of an untrained student, from the stretches at the end of its visits.

Mean power of the rail that feeds the whole board, times what an inference lasted: the board's idling is in it, as it is
in what the gate judges. Loading and warming up are not, so the gate's upper bound is higher; see docs/boards.md. Where
one thread ran it, what it waited for a processor is no part of it, as in the latencies beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median, stdev

from edgekd.record import PairedRun
from edgekd.vitals import INPUT_RAILS, Stretch

LEAST_LOOKS = 8  # our choice: of ten that a stretch waits for, two may come late
LEAST_ERROR = 0.01  # our choice: two stretches in the same second agree no better
_NORMAL = 1.4826


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules of one inference with a relative standard error, from `looks` at `rail` in `stretches`."""

    value_j: float
    error: float
    rail: str
    looks: int
    stretches: int


def energy_of(runs: Sequence[PairedRun]) -> Energy | None:
    """What the stretches of one student's visits say together; None where none of them tells, which is never fine.

    The median over the stretches; how much they disagree is the error, or what each says of itself where that is more.
    """
    stretches = [run.energy for run in runs if run.energy is not None]
    rail = next((name for name in INPUT_RAILS if any(_tells(each, name) for each in stretches)), None)
    if rail is None:
        return None
    told = [each for each in stretches if _tells(each, rail)]
    logs = [math.log(power_w(each, rail) * lasted_s(each)) for each in told]
    middle = median(logs)
    within = median(_error(each, rail) for each in told)
    between = _NORMAL * median(abs(value - middle) for value in logs) if len(logs) > 1 else 0.0
    error = max(within, between, LEAST_ERROR) / math.sqrt(len(logs))
    return Energy(math.exp(middle), error, rail, sum(len(each.looks) for each in told), len(told))


def lasted_s(stretch: Stretch) -> float:
    """What an inference lasted."""
    return (stretch.lasted_s if stretch.thread_s is None else stretch.thread_s) / stretch.inferences


def power_w(stretch: Stretch, rail: str) -> float:
    """The mean power of `rail` from the first look to the last, by the trapezium rule."""
    looks = stretch.looks
    used_j = sum(
        (one.rails_w[rail] + other.rails_w[rail]) / 2 * (other.at_s - one.at_s) for one, other in pairwise(looks)
    )
    return used_j / (looks[-1].at_s - looks[0].at_s)


def _tells(stretch: Stretch, rail: str) -> bool:
    """Whether that rail was seen often enough, at every look, over most of the stretch, with a power that can be."""
    looks = stretch.looks
    if len(looks) < LEAST_LOOKS or looks[-1].at_s - looks[0].at_s < stretch.lasted_s / 2:
        return False
    return all(one.rails_w.get(rail, 0.0) > 0 for one in looks)


def _error(stretch: Stretch, rail: str) -> float:
    """The relative standard error of the mean power, as if each look told of a moment of its own."""
    watts = [one.rails_w[rail] for one in stretch.looks]
    return stdev(watts) / fmean(watts) / math.sqrt(len(watts))
