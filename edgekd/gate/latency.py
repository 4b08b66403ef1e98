"""Latency percentiles: the exact test on independent samples, and what must hold beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median

from edgekd.gate.conditions import differences, spoiled, throttling
from edgekd.gate.verdict import Criterion, Outcome, Reason, excess_text
from edgekd.record import LatencyRecord
from edgekd.sla import quantile_from_name
from edgekd.stats import (
    cluster_low,
    dispersion,
    drift,
    fail_count,
    pass_count,
    quantile,
    quantile_bounds,
    samples_needed,
    samples_to_decide,
)
from edgekd.units import NS_PER_S, seconds_from_ns, text_from_s

DRIFT_LIMIT = 0.03  # our choice: well above the noise of a median of 100 samples, well below what cooling changes
SEGMENTS = 10
MOST_SAMPLES = 1_000_000
_MENDS = {
    Reason.THROTTLED: "mend cooling or power supply",
    Reason.POWER_MODE: "set the mode",
    Reason.SUSPENDED: "keep it awake",
    Reason.GOVERNOR_CHANGED: "set one governor, such as by edgekd bench --tune,",
    Reason.CLOCK_FELL: "cool it or fix its clock, such as by edgekd bench --tune,",
}


@dataclass(frozen=True)
class Samples:
    """The steady samples of one artifact, run by run in the order they happened, and what spoils them, if anything."""

    runs: tuple[tuple[int, ...], ...]
    mixed: tuple[str, ...] = ()
    throttled: str | None = None
    spoiled: tuple[Reason, str] | None = None
    runs_lost: int = 0

    @cached_property
    def ordered(self) -> list[int]:
        """Every sample, sorted."""
        return sorted(sample for run in self.runs for sample in run)

    @cached_property
    def thirds(self) -> list[list[int]]:
        """The first, second and last third of the time measured; empty for fewer than 9 samples."""
        flat = [sample for run in self.runs for sample in run]
        size = len(flat) // 3
        return [flat[:size], flat[size:-size], flat[-size:]] if size >= 3 else []

    @cached_property
    def moved(self) -> float:
        """The larger of the drift over the session and the usual drift within a run, with its sign."""
        within = median(drift(run) for run in self.runs)
        across = drift([sample for run in self.runs for sample in run])
        # Rounded, for 103 / 100 - 1 is 0.030000000000000027.
        return round(across if abs(across) > abs(within) else within, 9)

    @cached_property
    def segments(self) -> list[tuple[int, ...]]:
        """Runs, cut into equal parts where there are fewer than 10, so that bursts within a run show."""
        parts = math.ceil(SEGMENTS / len(self.runs))
        cut: list[tuple[int, ...]] = []
        for run in self.runs:
            edges = [len(run) * part // parts for part in range(parts + 1)]
            cut.extend(run[a:b] for a, b in pairwise(edges) if b > a)
        return cut


def samples_from_records(records: Sequence[LatencyRecord], power_mode: str | None = None) -> Samples | None:
    """The samples of one artifact's records, oldest first; None without a record. `power_mode` is the one asked for."""
    if not records:
        return None
    mixed = [text for record in records[1:] for text in differences(records[0], record)]
    held_back = [text for text in (throttling(record.host) for record in records) if text is not None]
    others = [found for found in (spoiled(record.host, power_mode) for record in records) if found is not None]
    return Samples(
        runs=tuple(tuple(run.samples_ns) for record in records for run in record.runs),
        mixed=tuple(dict.fromkeys(mixed)),
        throttled=held_back[0] if held_back else None,
        spoiled=others[0] if others else None,
        runs_lost=sum(max(0, record.protocol.processes - len(record.runs)) for record in records),
    )


@dataclass(frozen=True)
class _Case:
    """One percentile against its limit, with everything that is computed once."""

    samples: Samples
    name: str
    limit_s: float
    alpha_pass: float
    alpha_fail: float

    @property
    def limit_ns(self) -> int:
        return round(self.limit_s * NS_PER_S)

    @property
    def p(self) -> float:
        return quantile_from_name(self.name)

    @property
    def n(self) -> int:
        return len(self.samples.ordered)

    @cached_property
    def overs(self) -> list[int]:
        return [sum(sample > self.limit_ns for sample in segment) for segment in self.samples.segments]

    @property
    def over(self) -> int:
        return sum(self.overs)

    @cached_property
    def phi(self) -> float:
        return dispersion(self.overs, [len(segment) for segment in self.samples.segments])

    @cached_property
    def bounds(self) -> tuple[int | None, int | None]:
        """As for independent samples, the upper one raised where bursts leave less information than that."""
        low, high = quantile_bounds(self.samples.ordered, self.p, self.alpha_pass, self.alpha_fail)
        allowed = pass_count(int(self.n / self.phi), self.p, self.alpha_pass)
        if high is None or allowed is None:
            return low, None
        return low, max(high, self.samples.ordered[self.n - math.floor(allowed * self.phi) - 1])


def latency_criterion(
    samples: Samples | None, name: str, limit_s: float, *, alpha_pass: float, alpha_fail: float
) -> Criterion:
    """The percentile `name` ('p95') of `samples` against `limit_s`; `alpha_*` are the error rates of each answer."""
    blank = Criterion(f"latency.{name}", limit_s, "s", Outcome.INCONCLUSIVE, Reason.NO_LATENCY_RECORD, "")
    if samples is None:
        return replace(blank, text=f"no latency record of this artifact, so {name} is unknown. Run: edgekd bench")
    if samples.mixed:
        said = "; ".join(samples.mixed)
        text = f"the latency records were taken under different conditions ({said}); judge those of one kind only"
        return replace(blank, reason=Reason.MIXED_CONDITIONS, text=text)
    case = _Case(samples, name, limit_s, alpha_pass, alpha_fail)
    low, high = (None if bound is None else seconds_from_ns(bound) for bound in case.bounds)
    outcome, reason, needed = _decision(case)
    if reason is Reason.BURSTS and low is not None and low > limit_s:
        low = None  # it holds for independent samples, which these are not
    found = replace(
        blank,
        outcome=outcome,
        reason=reason,
        estimate=seconds_from_ns(quantile(samples.ordered, case.p)),
        low=low,
        high=high,
        n=case.n,
        over=case.over,
        needed=needed,
    )
    return replace(found, text=_sentence(case, found))


def _decision(case: _Case) -> tuple[Outcome, Reason, int | None]:
    if case.samples.throttled is not None:
        return Outcome.INCONCLUSIVE, Reason.THROTTLED, None
    if case.samples.spoiled is not None:
        return Outcome.INCONCLUSIVE, case.samples.spoiled[0], None
    allowed, proof = (
        pass_count(case.n, case.p, case.alpha_pass),
        fail_count(case.n, case.p, case.alpha_fail),
    )
    if proof is not None and case.over >= proof:
        return _confirmed_fail(case)
    if allowed is not None and case.over <= allowed:
        return _confirmed_pass(case)
    most_likely = _needed(case)
    if allowed is None:
        floor = samples_needed(case.p, 1 - case.alpha_pass)
        return Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES, max(floor, most_likely or 0)
    return Outcome.INCONCLUSIVE, Reason.TOO_CLOSE, most_likely


def _confirmed_fail(case: _Case) -> tuple[Outcome, Reason, int | None]:
    sizes = [len(segment) for segment in case.samples.segments]
    if cluster_low(case.overs, sizes, case.alpha_fail) <= 1 - case.p:
        return Outcome.INCONCLUSIVE, Reason.BURSTS, _needed(case)
    moved = case.samples.moved
    if abs(moved) > DRIFT_LIMIT:
        best = min(quantile(third, case.p) for third in case.samples.thirds)
        if best <= case.limit_ns * (1 + abs(moved)):
            return Outcome.INCONCLUSIVE, Reason.DRIFT, None
    return Outcome.FAIL, Reason.MISSED, None


def _confirmed_pass(case: _Case) -> tuple[Outcome, Reason, int | None]:
    high = case.bounds[1]
    if high is None or high > case.limit_ns:
        return Outcome.INCONCLUSIVE, Reason.BURSTS, _needed(case)
    if case.samples.runs_lost:
        return Outcome.INCONCLUSIVE, Reason.RUNS_MISSING, None
    moved = case.samples.moved
    if abs(moved) > DRIFT_LIMIT:
        worst = max(high, *(quantile(third, case.p) for third in case.samples.thirds))
        if worst * (1 + abs(moved)) > case.limit_ns:
            return Outcome.INCONCLUSIVE, Reason.DRIFT, None
    return Outcome.PASS, Reason.KEPT, None


def _needed(case: _Case) -> int | None:
    """About how many samples in all would decide, were the coming ones like these."""
    share = case.over / case.n
    independent = samples_to_decide(share, case.p, case.alpha_pass, case.alpha_fail, MOST_SAMPLES)
    needed = None if independent is None else math.ceil(independent * case.phi)
    return needed if needed is not None and case.n < needed <= MOST_SAMPLES else None


def _sentence(case: _Case, found: Criterion) -> str:
    limit = text_from_s(case.limit_s)
    sides = [
        f"at least {text_from_s(found.low)}" if found.low is not None else "",
        f"at most {text_from_s(found.high)}" if found.high is not None else "",
    ]
    known = " and ".join(side for side in sides if side)
    sure = f"{100 * (1 - case.alpha_pass):g} %"
    measured = f"{case.name} is {text_from_s(found.estimate or math.nan)}" + (
        f" ({known}, {sure} sure)" if known else ""
    )
    if found.outcome is Outcome.PASS:
        return f"{measured}, within the limit of {limit}"
    if found.outcome is Outcome.FAIL:
        return f"{measured}, {excess_text(found.excess or 0)} of {limit}"
    return f"{measured} for a limit of {limit}: {_hint(case, found)}"


def _hint(case: _Case, found: Criterion) -> str:
    samples, moved = case.samples, case.samples.moved
    more = "no reachable number of samples" if found.needed is None else f"about {found.needed} samples in all"
    if found.reason in _MENDS:
        what = samples.throttled if found.reason is Reason.THROTTLED or samples.spoiled is None else samples.spoiled[1]
        return f"the board was held back ({what}); {_MENDS[found.reason]} and measure again"
    if found.reason is Reason.RUNS_MISSING:
        return f"{samples.runs_lost} of the planned process runs left no samples, and may have been the slow ones"
    if found.reason is Reason.DRIFT:
        slower = "slower" if moved > 0 else "faster"
        return f"latency became {100 * abs(moved):.1f} % {slower} while measuring; warm up longer or let the board cool"
    if found.reason is Reason.BURSTS:
        worth = int(case.n / case.phi)
        return f"slow samples come in bursts, so these {case.n} are worth about {worth}; {more} would decide"
    if found.reason is Reason.TOO_FEW_SAMPLES:
        return f"{case.n} samples are too few to show it kept; measure at least {found.needed}"
    return f"too close to call with {case.n} samples, {more} would decide if the rest were like these"
