"""When no student keeps the limits: which limit stands in the way, how far the nearest student is, what could give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekd.sizing.choice import Standing, keeps
from edgekd.sizing.limits import Limit, ratios_by_limit, worst_ratio
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.space import Enumeration
from edgekd.units import text_from_share


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way. `limit` is the one that the nearest student misses most, by `ratio` = value / limit.

    `impossible` are the limits that no student keeps even alone; when it is empty, only the combination is impossible.
    `value` is None when nothing is known about it. `certain` is False while unmeasured students could still fit.
    """

    limit: str
    limit_value: float
    student: str
    precision: str
    value: float | None
    ratio: float | None
    measured: bool
    certain: bool
    impossible: list[str]
    advice: list[str]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def obstacle_of(standing: Standing, enumeration: Enumeration, precisions: Sequence[str]) -> Obstacle:
    """The obstacle, for a standing with at least one limit in which no student is known to keep them all."""
    student, precision = _nearest(standing)
    costs = standing.costs(student, precision)
    ratios = ratios_by_limit(costs, list(standing.limits))
    # What is not known is the first thing to find out, so it goes before what is merely missed.
    limit = max(standing.limits, key=lambda item: _rank(ratios[item.name]))
    value = costs.at(limit)
    undecided = sum(
        not standing.is_measured(other) and _may_keep(standing.ratio(other, "low")) for other in standing.students
    )
    impossible = [item.name for item in standing.limits if not _kept_alone(standing, item)]
    advice = _advice(standing, enumeration, precisions, student, precision)
    if undecided and standing.measurements:
        advice.append(f"raise search.finalists: {undecided} students that may fit were not measured")
    found = Obstacle(
        limit=limit.name,
        limit_value=limit.value,
        student=student.name,
        precision=precision,
        value=value,
        ratio=ratios[limit.name],
        measured=f"{student.name}-{precision}" in standing.measurements,
        certain=not undecided,
        impossible=impossible,
        advice=advice,
        text="",
    )
    return replace(found, text=_text(found, limit, undecided))


def _rank(ratio: float | None) -> float:
    return float("inf") if ratio is None else ratio


def _may_keep(ratio: float | None) -> bool:
    return ratio is None or keeps(ratio)


def _nearest(standing: Standing) -> tuple[PricedStudent, str]:
    options = [(student, precision) for student in standing.students for precision in student.prices]
    limits = list(standing.limits)
    return min(
        options,
        key=lambda option: (
            _rank(worst_ratio(standing.costs(*option), limits)),
            option[0].macs,
            option[0].name,
            option[1],
        ),
    )


def _kept_alone(standing: Standing, limit: Limit) -> bool:
    return any(
        _may_keep(worst_ratio(standing.costs(student, precision, "low"), [limit]))
        for student in standing.students
        for precision in student.prices
    )


def _advice(
    standing: Standing, enumeration: Enumeration, precisions: Sequence[str], student: PricedStudent, precision: str
) -> list[str]:
    costs = standing.costs(student, precision)
    advice = []
    for limit in standing.limits:
        value = costs.at(limit)
        if value is not None and value > limit.value:
            wanted = limit.text_of(value)
            advice.append(f"raise {limit.name} from {limit.text} to more than {wanted}, which {student.name} keeps")
        elif value is None:
            advice.append(f"measure on the host, because {student.prices[precision].roofline.note}")
    advice += _wider(standing, enumeration)
    if list(precisions) == ["fp32"]:
        advice.append("allow int8 in precisions")
    return advice


def _wider(standing: Standing, enumeration: Enumeration) -> list[str]:
    """Which dimension of the space has room for smaller students."""
    parts = []
    for name, least in (("layers", 1), ("hidden", 1), ("ffn", 1)):
        smallest = min(getattr(student.spec, name) for student in standing.students)
        if smallest > least:
            parts.append(f"{name} below {smallest}")
    advice = [f"widen the space downwards: {', '.join(parts)}"] if parts else []
    for reason, number in enumeration.refused.items():
        if "min_share" in reason:
            advice.append(f"lower space.min_share, which refused {number} smaller students ({reason})")
    smallest_student = min(standing.students, key=lambda student: (student.parameters, student.name))
    share = 1 - smallest_student.capacity / smallest_student.parameters
    if share > 0.5 and any(limit.quantity != "latency_s" for limit in standing.limits):
        advice.append(f"narrow hidden: embeddings are {text_from_share(share, 0)} of {smallest_student.name}")
    return advice


def _text(found: Obstacle, limit: Limit, undecided: int) -> str:
    if found.value is None or found.ratio is None:
        lines = [f"Undecided: nothing is known about {found.limit} of {undecided} students"]
    elif found.impossible:
        lines = [f"No student keeps {' or '.join(found.impossible)}"]
    elif found.certain:
        lines = ["No student keeps all limits at once, though each alone may be kept"]
    else:
        lines = [f"No student keeps the limits for sure; {undecided} that were not measured may"]
    if found.value is not None and found.ratio is not None:
        how = "measured" if found.measured else "predicted"
        lines.append(
            f"nearest: {found.student} in {found.precision}, whose {found.limit} is up to {limit.text_of(found.value)} "
            f"({how}), {found.ratio:.2f} times the limit of {limit.text}"
        )
    return "\n".join([*lines, *(f"to mend it: {line}" for line in found.advice)])
