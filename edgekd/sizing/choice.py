"""Which student to take, from forecasts and measurements: the most capable one that keeps the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Literal

import numpy as np

from edgekd.sizing.aim import aimed_at
from edgekd.sizing.attempts import NOTHING, Learned
from edgekd.sizing.forecast import End, Forecasts, Measurement, measured_costs, usual_spread
from edgekd.sizing.limits import Costs, Limit, ratios_by_limit
from edgekd.sizing.pareto import Numbers, pareto_set
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.quality import Tried, best_tried
from edgekd.sizing.table import Mask, Table
from edgekd.student import Candidate
from edgekd.units import text_from_count

Compare = Literal["upper", "middle"]


@dataclass(frozen=True, eq=False)
class Standing:
    """How all students stand against the limits, with what is known so far.

    `measured` are those of which something was measured; `compare` says which end of an interval must keep a limit.
    `learned` is what trained students taught: it corrects what a limit is compared with, not what was measured.
    `quality` is what trials told, by student.
    """

    table: Table
    limits: Sequence[Limit]
    forecasts: Mapping[str, Forecasts]
    measured: Sequence[PricedStudent]
    measurements: Mapping[str, Measurement]
    compare: Compare = "upper"
    learned: Learned = NOTHING
    quality: Mapping[str, Tried] = field(default_factory=dict)

    @cached_property
    def spread(self) -> float:
        """The spread to expect of any student: it tells of the board, and one student's few pairs tell it badly."""
        return usual_spread(self.measurements)

    @property
    def end(self) -> End:
        """The end of an interval that must keep a limit."""
        return "high" if self.compare == "upper" else "mid"

    @cached_property
    def rows(self) -> dict[int, PricedStudent]:
        """The measured students by where they stand in the table."""
        found = {self.table.row_of(student): student for student in self.measured}
        return {row: student for row, student in found.items() if row is not None}

    @cached_property
    def complete(self) -> Mask:
        """Which students were measured in every allowed precision."""
        found = np.zeros(len(self.table), np.bool_)
        for row, student in self.rows.items():
            found[row] = all(candidate.name in self.measurements for candidate in student.candidates)
        return found

    def costs(self, row: int, precision: str, end: End | None = None) -> Costs:
        """What the student at `row` takes: measured where it was, else that end of its forecast."""
        forecast = self.forecasts[precision].costs(row, end or self.end, self.spread)
        found = self._measurement(row, precision)
        costs = forecast if found is None else measured_costs(found, forecast, self.compare)
        truths = self.learned.truths.get(f"{self.rows[row].name}-{precision}", {}) if row in self.rows else {}
        return replace(costs, factors=self.learned.factors.get(precision, {}), truths=truths)

    def is_measured(self, row: int, precision: str) -> bool:
        """Whether that candidate was measured."""
        return self._measurement(row, precision) is not None

    def _measurement(self, row: int, precision: str) -> Measurement | None:
        student = self.rows.get(row)
        if student is None:
            return None
        return self.measurements.get(Candidate(student.spec, precision, student.sequence).name)

    def ratios(self, precision: str, end: End, limits: Sequence[Limit] | None = None) -> Numbers:
        """value / limit of the limit that is missed most: at most 1 where every limit is kept, NaN where unknown."""
        limits = self.limits if limits is None else limits
        forecast = self.forecasts[precision]
        found = worst_ratios(forecast, limits, end, self.spread, self.learned.factors.get(precision, {}))
        for row in self.rows:
            if self.is_measured(row, precision):
                found[row] = _worst(self.costs(row, precision, end), limits)
        return found

    def best_ratios(self, end: End | None = None) -> Numbers:
        """The ratio in the precision that does best; NaN where one that is unknown could do better."""
        end = end or self.end
        if end not in self._best:
            ratios = np.array([self.ratios(precision, end) for precision in self.table.precisions])
            best = np.fmin.reduce(ratios)
            best[(best > 1) & np.isnan(ratios).any(axis=0)] = np.nan
            self._best[end] = best
        return self._best[end]

    @cached_property
    def _best(self) -> dict[End, Numbers]:
        return {}

    def fitting(self, row: int) -> list[str]:
        """The precisions in which the student at `row` keeps every limit."""
        return [
            precision
            for precision in self.table.precisions
            if _worst(self.costs(row, precision), self.limits) <= 1
        ]  # fmt: skip

    @cached_property
    def feasible(self) -> Mask:
        """The students that keep every limit; where the next attempt is sought, those that stand where it should."""
        ratios, aim = self.best_ratios(), self.learned.aim
        return ratios <= 1 if aim is None else aimed_at(ratios, self.asked_for, aim)

    @property
    def most(self) -> float:
        """The ratio that no student may be above."""
        return 1.0 if self.learned.aim is None else self.learned.aim.high

    @cached_property
    def asked_for(self) -> Mask:
        """Who is looked for at all: everybody, or those more capable than a student that keeps the limits already."""
        above = self.learned.aim.above if self.learned.aim else None
        if above is None:
            return np.ones(len(self.table), np.bool_)
        row = next((row for row, student in self.rows.items() if student.name == above), None)
        return np.zeros(len(self.table), np.bool_) if row is None else self.table.exceeds(row)

    @cached_property
    def front(self) -> list[tuple[int, str]]:
        """The candidates that none beats in latency, memory and capacity together, by the middle of what is known."""
        return front_of(self.table, self.middles)

    @property
    def middles(self) -> list[tuple[Numbers, Numbers]]:
        """Latency and memory in each precision: as measured, else the middle of the forecast."""
        found = []
        for precision in self.table.precisions:
            forecast = self.forecasts[precision]
            latency_s, memory_bytes = forecast.latency.mid.copy(), forecast.memory.mid.astype(np.float64)
            for row in self.rows:
                costs = self.costs(row, precision, "mid")
                if costs.latency_s is not None:
                    latency_s[row] = costs.latency_s
                memory_bytes[row] = costs.memory_bytes
            found.append((latency_s, memory_bytes))
        return found

    @property
    def pareto(self) -> list[str]:
        """The names of the candidates on the front."""
        return [f"{self.table.name(row)}-{precision}" for row, precision in self.front]

    @cached_property
    def best(self) -> int | None:
        """Of the measured students that keep every limit the best by trials, else the most capable."""
        if self.tried is not None:
            return self.tried[0]
        return next(iter(self.table.leading(self.feasible & self.complete, 1)), None)

    @cached_property
    def tried(self) -> tuple[int, bool] | None:
        """The best by trials, and whether their losses alone said so; None where they cannot tell."""
        able = self.feasible & self.complete
        named = {row: student.name for row, student in self.rows.items() if able[row]}
        return best_tried({row: self.quality[name] for row, name in named.items() if name in self.quality}, self.table)


def front_of(table: Table, middles: Sequence[tuple[Numbers, Numbers]]) -> list[tuple[int, str]]:
    """The rows and precisions that none beats, given latency and memory in each precision, NaN where unknown.

    Of inputs of several lengths a longer one is no worse than a shorter one.
    """
    latencies, memories = (np.stack(columns, axis=1) for columns in zip(*middles, strict=True))
    rows, columns = np.nonzero(~np.isnan(latencies))
    points = latencies[rows, columns], memories[rows, columns], table.capacity[rows]
    kept = np.zeros(0, np.intp)
    for sequence in table.sequences[::-1]:
        own = np.flatnonzero(table.sequence[rows] == sequence)
        both = np.concatenate([kept, own])
        kept = np.union1d(kept, both[pareto_set(*(values[both] for values in points))])
    return [(int(rows[index]), table.precisions[columns[index]]) for index in kept]


def worst_ratios(
    forecast: Forecasts, limits: Sequence[Limit], end: End, spread: float, factors: Mapping[str, float] | None = None
) -> Numbers:
    """The largest of value / limit for every student: 0 without limits, NaN when one is unknown and none is missed.

    `factors` correct a value, by metric.
    """
    of = {
        "latency_s": forecast.latency,
        "memory_bytes": forecast.memory,
        "size_bytes": forecast.size,
        "energy_j": forecast.energy,
    }
    worst = np.zeros(len(forecast.latency.mid))
    unknown = np.zeros(len(worst), np.bool_)
    for limit in limits:
        corrected = limit.factor(spread) * (factors or {}).get(limit.metric, 1.0)
        ends = of[limit.quantity]
        ratio = np.full(len(worst), np.nan) if ends is None else getattr(ends, end) * (corrected / limit.value)
        unknown |= np.isnan(ratio)
        worst = np.fmax(worst, ratio)
    worst[unknown & (worst <= 1)] = np.nan
    return worst


def _worst(costs: Costs, limits: Sequence[Limit]) -> float:
    ratios = ratios_by_limit(costs, limits)
    known = [ratio for ratio in ratios.values() if ratio is not None]
    worst = max(known, default=0.0)
    return float("nan") if worst <= 1 and len(known) < len(ratios) else worst


def first_finalists(standing: Standing, number: int) -> list[int]:
    """The `number` most capable feasible students, and the Pareto neighbours just above and just below them.

    The one above may fit (the middle of its forecast does), the one below should fit if all others miss.
    """
    best, table = standing.best, standing.table
    leading = _more_capable(standing, number)
    top, bottom = (leading[0], leading[-1]) if leading else (best, best)
    if top is None or bottom is None:
        return []
    front = np.zeros(len(table), np.bool_)
    front[[row for row, _ in standing.front]] = True
    front &= ~standing.complete
    above = front & table.exceeds(top) & (standing.best_ratios("mid") <= standing.most) & standing.asked_for
    below = front & standing.feasible & ~table.exceeds(bottom)
    below[bottom] = False
    if best is not None:
        below &= table.exceeds(best)
    nearest_above = table.rank(np.flatnonzero(above))[:1]
    return [*map(int, nearest_above), *leading, *table.leading(below, 1)]


def next_finalists(standing: Standing, number: int) -> list[int]:
    """Who to measure after the first finalists: at most `number` students, none when measuring more cannot help.

    Feasible ones that are more capable than the best measured one; without any such and without a best one, those
    whose forecast comes nearest to the limits and does not rule them out.
    """
    if standing.best is not None or standing.feasible.any():
        return _more_capable(standing, number)
    ratios = standing.best_ratios("mid")
    open_ = standing.asked_for & (standing.best_ratios("low") <= standing.most) & ~np.isnan(ratios)
    open_rows = np.flatnonzero(~standing.complete & open_)
    order = np.lexsort([standing.table.capacity[open_rows], ratios[open_rows]])
    return [int(row) for row in open_rows[order[:number]]]


def contenders(standing: Standing, number: int) -> list[int]:
    """Students above the best one that nobody measured, and that should be found to keep the limits when one does.

    The upper end of their forecast misses a limit, but its middle leaves the room that a measurement needs.
    """
    if standing.best is None or standing.learned.aim is not None:
        return []
    ends = [found.high_s / found.latency_s for found in standing.measurements.values()]
    found = standing.best_ratios("mid") * (median(ends) if standing.compare == "upper" else 1.0) <= standing.most
    return standing.table.leading(found & ~standing.complete & standing.table.exceeds(standing.best), number)


def undecided(standing: Standing, number: int) -> list[int]:
    """Measured students above the best one that keep the limits by the middle of what was measured, not by its end."""
    if standing.best is None or standing.learned.aim is not None:
        return []
    found = standing.complete & ~standing.feasible & replace(standing, compare="middle").feasible
    return standing.table.leading(found & standing.table.exceeds(standing.best), number)


def _more_capable(standing: Standing, number: int) -> list[int]:
    """The feasible students above the best one, the most capable first; none was measured, or it would be best."""
    better = standing.feasible
    if standing.best is not None:
        better = better & standing.table.exceeds(standing.best)
    return standing.table.leading(better, number)


def reason_text(student: PricedStudent, limits: Sequence[Limit]) -> str:
    """Why `student` was chosen, without a measured number: the same in every run that decides the same."""
    kept = _kept_text(limits)
    size = text_from_count(student.capacity)
    most = f"{student.name} has the most parameters outside the embeddings ({size}) of the students that"
    return (
        f"{most} keep {kept}"
        if kept
        else f"{most} were considered; the SLA limits neither latency, memory, energy nor size"
    )


def trials_text(student: PricedStudent, limits: Sequence[Limit], *, alone: bool) -> str:
    """Why trials chose `student`, without a measured number; `alone` says that no other did as well."""
    kept = _kept_text(limits)
    of = f"of the students that were distilled for a short time{f' and keep {kept}' if kept else ''}"
    if alone:
        return f"{student.name} had the lowest validation loss {of}"
    size = text_from_count(student.capacity)
    return (
        f"{student.name} has the most parameters outside the embeddings ({size}) of those whose validation losses "
        f"cannot be told apart from the lowest, {of}"
    )


def _kept_text(limits: Sequence[Limit]) -> str:
    words = [f"{limit.name.removeprefix('latency.')} within {limit.text}" for limit in limits]
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1] if words else ""
