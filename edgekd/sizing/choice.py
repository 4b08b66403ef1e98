"""Which student to take, from forecasts and measurements: the most capable one that keeps the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekd.sizing.forecast import Forecast, Measurement, measured_costs, usual_spread
from edgekd.sizing.limits import Costs, Limit, worst_ratio
from edgekd.sizing.pareto import pareto_set
from edgekd.sizing.price import PricedStudent, capacity_order
from edgekd.units import text_from_count


@dataclass(frozen=True)
class Standing:
    """How all students stand against the limits, with what is known so far."""

    students: Sequence[PricedStudent]
    limits: Sequence[Limit]
    forecasts: Mapping[str, Forecast]
    measurements: Mapping[str, Measurement]

    @cached_property
    def spread(self) -> float:
        """The spread to expect of any student: it tells of the board, and one student's few pairs tell it badly."""
        return usual_spread(self.measurements)

    def is_measured(self, student: PricedStudent) -> bool:
        """Whether `student` was measured in every allowed precision."""
        return all(candidate.name in self.measurements for candidate in student.candidates)

    def costs(self, student: PricedStudent, precision: str, end: str = "high") -> Costs:
        """What `student` takes: measured where it was, else that `end` of its forecast."""
        name = f"{student.name}-{precision}"
        found = self.measurements.get(name)
        if found is not None:
            return measured_costs(found, self.forecasts[name], self.spread)
        return self.forecasts[name].costs(end, self.spread)

    def ratio(self, student: PricedStudent, end: str = "high") -> float | None:
        """value / limit of the limit that is missed most, in the precision that does best; None when unknown."""
        found = [worst_ratio(self.costs(student, precision, end), self.limits) for precision in student.prices]
        known = [ratio for ratio in found if ratio is not None]
        return min(known) if known and (min(known) <= 1 or len(known) == len(found)) else None

    def fitting(self, student: PricedStudent) -> list[str]:
        """The precisions in which `student` keeps every limit, upper ends counted."""
        ratios = {precision: worst_ratio(self.costs(student, precision), self.limits) for precision in student.prices}
        return [precision for precision, ratio in ratios.items() if ratio is not None and ratio <= 1]

    @cached_property
    def by_capacity(self) -> list[PricedStudent]:
        """All students, the most capable first."""
        return sorted(self.students, key=capacity_order, reverse=True)

    @cached_property
    def feasible(self) -> list[PricedStudent]:
        """The students whose upper ends keep every limit, the most capable first."""
        return [student for student in self.by_capacity if keeps(self.ratio(student))]

    @cached_property
    def pareto(self) -> list[str]:
        """The candidates that none beats in latency, memory and capacity together, by the middle of what is known."""
        names, points = [], []
        for student in self.students:
            for precision in student.prices:
                costs = self.costs(student, precision, "mid")
                if costs.latency_s is not None and costs.memory_bytes is not None:
                    names.append(f"{student.name}-{precision}")
                    points.append((costs.latency_s, costs.memory_bytes, float(student.capacity)))
        return [names[index] for index in pareto_set(points)]

    @property
    def best(self) -> PricedStudent | None:
        """The most capable measured student that keeps every limit."""
        return next((student for student in self.feasible if self.is_measured(student)), None)


def keeps(ratio: float | None) -> bool:
    """Whether every limit is kept for sure."""
    return ratio is not None and ratio <= 1


def first_finalists(standing: Standing, number: int) -> list[PricedStudent]:
    """The `number` most capable feasible students, and the Pareto neighbours just above and just below them.

    The one above may fit (the middle of its forecast does), the one below should fit if all others miss.
    """
    best = standing.best
    leading = _more_capable(standing, best)[:number]
    top, bottom = (leading[0], leading[-1]) if leading else (best, best)
    if top is None or bottom is None:
        return []
    on_front = {name.rpartition("-")[0] for name in standing.pareto}
    front = [
        student for student in standing.by_capacity if student.name in on_front and not standing.is_measured(student)
    ]
    above = [student for student in front if _exceeds(student, top) and keeps(standing.ratio(student, "mid"))]
    below = [student for student in front if _exceeds(bottom, student) and keeps(standing.ratio(student))]
    safer = [student for student in below if best is None or _exceeds(student, best)]
    return [*above[-1:], *leading, *safer[:1]]


def next_finalists(standing: Standing, number: int) -> list[PricedStudent]:
    """Who to measure after the first finalists: at most `number` students, none when measuring more cannot help.

    Feasible ones that are more capable than the best measured one; without any such and without a best one, those
    whose forecast comes nearest to the limits and does not rule them out.
    """
    best = standing.best
    if best is not None or standing.feasible:
        return _more_capable(standing, best)[:number]
    open_students = [
        (ratio, student.name, student)
        for student in standing.students
        if not standing.is_measured(student)
        and keeps(standing.ratio(student, "low"))
        and (ratio := standing.ratio(student, "mid")) is not None
    ]
    return [student for _, _, student in sorted(open_students, key=lambda item: item[:2])[:number]]


def _more_capable(standing: Standing, best: PricedStudent | None) -> list[PricedStudent]:
    """The feasible students above `best`, the most capable first; none of them was measured, or it would be best."""
    return [student for student in standing.feasible if best is None or _exceeds(student, best)]


def _exceeds(one: PricedStudent, other: PricedStudent | None) -> bool:
    return other is not None and capacity_order(one) > capacity_order(other)


def reason_text(student: PricedStudent, limits: Sequence[Limit]) -> str:
    """Why `student` was chosen, without a measured number: the same in every run that decides the same."""
    words = [f"{limit.name.removeprefix('latency.')} within {limit.text}" for limit in limits]
    kept = ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1] if words else ""
    size = text_from_count(student.capacity)
    most = f"{student.name} has the most parameters outside the embeddings ({size}) of the students that"
    return f"{most} keep {kept}" if kept else f"{most} were considered; the SLA limits neither latency, memory nor size"
