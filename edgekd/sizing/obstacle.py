"""When no student keeps the limits: which limit stands in the way, how far the nearest student is, what could give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edgekd.sizing.choice import Standing
from edgekd.sizing.limits import Limit, ratios_by_limit
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


def obstacle_of(standing: Standing, refused: Mapping[str, int]) -> Obstacle:
    """The obstacle, for a standing with at least one limit in which no student is known to keep them all."""
    row, precision = _nearest(standing)
    costs = standing.costs(row, precision)
    ratios = ratios_by_limit(costs, list(standing.limits))
    # What is not known is the first thing to find out, so it goes before what is merely missed.
    limit = max(standing.limits, key=lambda item: _rank(ratios[item.name]))
    value = costs.at(limit)
    undecided = int((~standing.complete & ~(standing.best_ratios("low") > 1)).sum())
    impossible = [item.name for item in standing.limits if not _kept_alone(standing, item)]
    advice = _advice(standing, refused, row, precision)
    if undecided and standing.measurements:
        advice.append(f"raise search.finalists: {undecided} students that may fit were not measured")
    found = Obstacle(
        limit=limit.name,
        limit_value=limit.value,
        student=standing.table.name(row),
        precision=precision,
        value=value,
        ratio=ratios[limit.name],
        measured=standing.is_measured(row, precision),
        certain=not undecided,
        impossible=impossible,
        advice=advice,
        text="",
    )
    return replace(found, text=_text(found, limit, undecided, standing.compare))


def _rank(ratio: float | None) -> float:
    return float("inf") if ratio is None else ratio


def _nearest(standing: Standing) -> tuple[int, str]:
    table = standing.table
    ratios = np.array([standing.ratios(precision, standing.end) for precision in table.precisions])
    ratios[np.isnan(ratios)] = np.inf
    columns, rows = np.nonzero(ratios == ratios.min())
    # Of equally near ones the least work, then the first in the table.
    best = min(range(len(rows)), key=lambda at: (int(table.counts.macs[rows[at]]), int(rows[at]), int(columns[at])))
    return int(rows[best]), table.precisions[columns[best]]


def _kept_alone(standing: Standing, limit: Limit) -> bool:
    """Whether some student may keep `limit`."""
    return any(bool((~(standing.ratios(name, "low", [limit]) > 1)).any()) for name in standing.table.precisions)


def _advice(standing: Standing, refused: Mapping[str, int], row: int, precision: str) -> list[str]:
    costs, name = standing.costs(row, precision), standing.table.name(row)
    advice = []
    for limit in standing.limits:
        value = costs.at(limit)
        if value is not None and value > limit.value:
            wanted = limit.text_of(value)
            advice.append(f"raise {limit.name} from {limit.text} to more than {wanted}, which {name} keeps")
        elif value is None:
            advice.append(f"measure on the host, because {_lacking(standing, limit, precision)}")
    advice += _wider(standing, refused)
    if list(standing.table.precisions) == ["fp32"]:
        advice.append("allow int8 in precisions")
    return advice


def _lacking(standing: Standing, limit: Limit, precision: str) -> str:
    """What the device profile would have to tell of an unmeasured student."""
    lacking = standing.table.roofline(precision)
    if limit.quantity != "energy_j" or isinstance(lacking, str):
        return str(lacking)
    return "no calibration of the device holds the energy of its students, and its profile no power budget"


def _wider(standing: Standing, refused: Mapping[str, int]) -> list[str]:
    """Which dimension of the space has room for smaller students."""
    parts, table = [], standing.table
    for name in ("layers", "hidden", "ffn"):
        smallest = int(getattr(table.specs, name).min())
        if smallest > 1:
            parts.append(f"{name} below {smallest}")
    advice = [f"widen the space downwards: {', '.join(parts)}"] if parts else []
    for reason, number in refused.items():
        if "min_share" in reason:
            advice.append(f"lower space.min_share, which refused {number} smaller students ({reason})")
    row = int(np.argmin(table.counts.parameters))
    share = 1 - int(table.capacity[row]) / int(table.counts.parameters[row])
    if share > 0.5 and any(limit.quantity.endswith("_bytes") for limit in standing.limits):
        advice.append(f"narrow hidden: embeddings are {text_from_share(share, 0)} of {table.name(row)}")
    return advice


def _text(found: Obstacle, limit: Limit, undecided: int, compare: str) -> str:
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
        about = "up to" if compare == "upper" else "about"
        lines.append(
            f"nearest: {found.student} in {found.precision}, whose {found.limit} is {about} "
            f"{limit.text_of(found.value)} ({how}), {found.ratio:.2f} times the limit of {limit.text}"
        )
    return "\n".join([*lines, *(f"to mend it: {line}" for line in found.advice)])
