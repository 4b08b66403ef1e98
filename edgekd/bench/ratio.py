"""Pairs: a model's time relative to a sentinel that ran just before and after it, which cancels what slowed both.

For predicting and comparing. A verdict on a limit needs the model's own latencies on a quiet board.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from edgekd.errors import MeasureError
from edgekd.record import PairedRun
from edgekd.stats import median_deviation, quantile
from edgekd.units import seconds_from_ns

# The sentinel is disturbed far more often than it is helped, so a low quantile is near its undisturbed time; the very
# smallest time would depend on how many there are.
QUIET_QUANTILE = 0.1
# Of the times within one visit: below the middle, since what disturbs only ever adds.
LOW_QUANTILE = 0.25
_QUARTILE_ERROR = 1.36  # sqrt(0.25 * 0.75) / 0.318, the density of a standard normal at its lower quartile
# What makes the median absolute deviation of a normal sample its standard deviation.
_NORMAL = 1.4826


@dataclass(frozen=True, slots=True)
class RelativeLatency:
    """How many sentinel times a model takes; `spread` is a robust standard deviation of single pairs."""

    ratio: float
    spread: float
    pairs: int

    @property
    def error(self) -> float:
        """About one standard error of `ratio`. Source: a median's is sqrt(pi / 2) times a mean's."""
        return math.sqrt(math.pi / 2) * self.spread / math.sqrt(self.pairs)


def ratios(run: PairedRun) -> list[float]:
    """Each time of the model over the mean of the two sentinel times around it.

    Where the thread's own times are known they count: what other programs took of the processor meanwhile is no part of
    them, and the longer a model the more often it is interrupted.
    """
    model_ns, sentinel_ns = own_times(run)
    before_and_after = itertools.pairwise(sentinel_ns)
    return [model / fmean(pair) for model, pair in zip(model_ns, before_and_after, strict=True)]


def own_times(run: PairedRun) -> tuple[list[int], list[int]]:
    """The times of model and sentinel, in nanoseconds: the thread's own where they are known."""
    if run.model_thread_ns is not None and run.sentinel_thread_ns is not None:
        return run.model_thread_ns, run.sentinel_thread_ns
    return run.model_ns, run.sentinel_ns


def undisturbed_s(times_ns: Sequence[int]) -> tuple[float, float]:
    """A low quartile of `times_ns` in seconds, and its relative standard error.

    Source: the variance of a sample quantile, p (1 - p) / (n f²), with the density f of a normal of the same spread.
    """
    value = quantile(times_ns, LOW_QUANTILE)
    spread = _NORMAL * median_deviation(times_ns) / value
    return seconds_from_ns(value), _QUARTILE_ERROR * spread / math.sqrt(len(times_ns))


def relative_latency(run: PairedRun) -> RelativeLatency:
    """The median of the run's ratios and their spread."""
    values = ratios(run)
    return RelativeLatency(median(values), _NORMAL * median_deviation(values), len(values))


def quiet_level_s(runs: Sequence[PairedRun]) -> float:
    """The sentinel's time on the undisturbed machine, from every sentinel time of `runs`.

    Errors: MeasureError without runs.
    """
    times = [time for run in runs for time in run.sentinel_ns]
    if not times:
        raise MeasureError("no paired runs, expected at least one to know the sentinel's time from")
    return seconds_from_ns(quantile(times, QUIET_QUANTILE))


def seconds_from_ratio(ratio: float, quiet_sentinel_s: float) -> float:
    """The model's latency on the machine whose quiet sentinel time is `quiet_sentinel_s`."""
    return ratio * quiet_sentinel_s
