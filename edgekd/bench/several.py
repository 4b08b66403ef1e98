"""The undisturbed time of a model that several threads run, of which only the clock on the wall tells.

All threads wait for the slowest, so whatever takes a core from one of them, or slows one, is waited for by all. Each
time is therefore freed of what its own two sentinels were slower, and nearly the least of what is left counts. How much
of a sentinel's slowness a model shares differs between machines, and is what lets visits of one student agree best.
Measured on two shared cores, 50 BERT students in seven visits: times of every second visit were within 10 % of those of
the others for 58 % of them by nearly the least time alone, and for 96 % when freed like that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from edgekd.record import PairedRecord, PairedRun
from edgekd.stats import quantile
from edgekd.units import seconds_from_ns

LEAST_QUANTILE = 0.05  # of the freed times of all visits: of 0.05, 0.1 and 0.15 the one after which fits were best
LEAST_ERROR = 0.01  # our choice: so near the end a quantile is not known better
SENSITIVITIES = tuple(step / 20 for step in range(21))
_EQUAL = 1e-9

Runs = Sequence[PairedRun]


def by_the_wall(record: PairedRecord) -> bool:
    """Whether several threads ran the models of `record`, so that no thread's own time tells of it."""
    return record.runtime.threads > 1 and record.run.model_thread_ns is None


def freed(run: PairedRun, level_s: float, sensitivity: float) -> list[float]:
    """ln of each time of the model in seconds, without what slowed its sentinels beyond `level_s`.

    Of the two sentinels the faster one counts: a program that comes between them and the model has slowed but one.
    """
    level = math.log(level_s)
    return [
        math.log(seconds_from_ns(model)) - sensitivity * (math.log(seconds_from_ns(min(around))) - level)
        for model, around in zip(run.model_ns, pairwise(run.sentinel_ns), strict=True)
    ]


def steadiest(runs: Mapping[str, Runs], levels_s: Mapping[str, float], usual: float) -> float:
    """The sensitivity, 0 to 1, by which the visits of each student agree best; of equal ones the nearest to `usual`.

    `runs` hold the visits by student, `levels_s` the sentinel's undisturbed time after each. Where no student has two
    visits nothing tells, and it is `usual`.
    """

    def scatter(sensitivity: float) -> float:
        total = 0.0
        for name, own in runs.items():
            values = [quantile(freed(run, levels_s[name], sensitivity), LEAST_QUANTILE) for run in own]
            total += sum(abs(value - median(values)) for value in values)
        return total

    if all(len(own) < 2 for own in runs.values()):
        return usual
    found = {sensitivity: scatter(sensitivity) for sensitivity in SENSITIVITIES}
    least = min(found.values()) + _EQUAL
    return min((one for one in SENSITIVITIES if found[one] <= least), key=lambda one: abs(one - usual))


def least_s(runs: Runs, level_s: float, sensitivity: float) -> tuple[float, float]:
    """Nearly the least freed time over all visits, in seconds, and its relative error: the jackknife's over visits."""
    each = [freed(run, level_s, sensitivity) for run in runs]
    value = quantile([time for times in each for time in times], LEAST_QUANTILE)
    count = len(each)
    if count < 2:
        return math.exp(value), LEAST_ERROR
    without = [
        quantile([time for other in each if other is not times for time in other], LEAST_QUANTILE) for times in each
    ]
    middle = sum(without) / count
    jackknife = math.sqrt((count - 1) / count * sum((one - middle) ** 2 for one in without))
    return math.exp(value), max(jackknife, LEAST_ERROR)
