"""Two latency records side by side: did the model become faster, slower, or is no difference shown?

The unit is the process run, not the inference: samples of one run resemble each other, so tests on pooled samples
see changes that are none (with a spread of 3 % between runs, seven times in ten). One number per run, the median, is
compared by Welch's interval on the log scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from edgekd.gate.conditions import cautions, differences, throttling
from edgekd.record import LatencyRecord, ProcessRun
from edgekd.stats import welch_interval

LEAST_RUNS = 3


class Change(StrEnum):
    """What the comparison shows."""

    FASTER = "faster"
    SLOWER = "slower"
    NONE_SHOWN = "no difference shown"
    TOO_FEW_RUNS = "too few runs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Comparison:
    """`ratio` is candidate over baseline of the median latency, below 1 for a faster candidate.

    It is None when the records are not comparable (`differences` says why); the interval `low` to `high` is None with
    fewer than 3 process runs on a side.
    """

    change: Change
    confidence: float
    baseline_runs: int
    candidate_runs: int
    text: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare(baseline: LatencyRecord, candidate: LatencyRecord, *, confidence: float = 0.95) -> Comparison:
    """How the candidate's latency relates to the baseline's, with an interval over process runs."""
    counts = (len(baseline.runs), len(candidate.runs))
    unlike = [*differences(baseline, candidate), *_held_back(baseline, candidate)]
    if unlike:
        text = f"the two were measured under different conditions ({'; '.join(unlike)}), so no ratio means anything"
        return Comparison(Change.NOT_COMPARABLE, confidence, *counts, text=text, differences=tuple(unlike))
    before, after = _log_medians(baseline.runs), _log_medians(candidate.runs)
    notes = tuple(cautions((baseline, candidate)))
    if min(counts) < LEAST_RUNS:
        ratio = math.exp(sum(after) / len(after) - sum(before) / len(before))
        text = f"{_ratio_text(ratio)}, from {counts[0]} and {counts[1]} process runs; {LEAST_RUNS} of each are needed"
        return Comparison(Change.TOO_FEW_RUNS, confidence, *counts, text=text, ratio=ratio, notes=notes)
    ratio, low, high = (math.exp(value) for value in welch_interval(before, after, confidence))
    change = Change.FASTER if high < 1 else Change.SLOWER if low > 1 else Change.NONE_SHOWN
    text = f"{change}: {_ratio_text(ratio)} ({100 * confidence:g} % interval {low:.3f} to {high:.3f})"
    return Comparison(change, confidence, *counts, text=text, ratio=ratio, low=low, high=high, notes=notes)


def _held_back(baseline: LatencyRecord, candidate: LatencyRecord) -> list[str]:
    states = (("baseline", throttling(baseline.host)), ("candidate", throttling(candidate.host)))
    return [f"while the {side} was measured, the board was held back: {state}" for side, state in states if state]


def _log_medians(runs: Sequence[ProcessRun]) -> list[float]:
    return [math.log(median(run.samples_ns)) for run in runs]


def _ratio_text(ratio: float) -> str:
    return f"the candidate takes {ratio:.3f} times as long as the baseline"
