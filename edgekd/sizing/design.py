"""Which students to measure for a latency calibration: those that span the space, the same ones every time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekd.sizing.price import PricedStudent


def spanning(students: Sequence[PricedStudent], number: int) -> list[PricedStudent]:
    """At most `number` of `students`: the one of least work, of most work, of median work, then always the farthest.

    Far is meant in (layers, hidden, heads, ffn), each as a logarithm scaled to its range, from the nearest student
    already taken. A fit predicts badly beyond the students it was made from, so these reach to the ends of the space;
    benchmarks/sizing_fit.py compares them with random ones.
    """
    order = sorted(range(len(students)), key=lambda index: (students[index].macs, students[index].name))
    if number >= len(order):
        return [students[index] for index in order]
    taken = [order[0], order[-1], order[len(order) // 2]][:number]
    places = _places(students)
    distances = [min(math.dist(place, places[index]) for index in taken) for place in places]
    while len(taken) < number:
        # Ties go to the one of least work, which is also the one measured fastest.
        farthest = max(order, key=lambda index: distances[index])
        taken.append(farthest)
        here = places[farthest]
        distances = [min(old, math.dist(place, here)) for old, place in zip(distances, places, strict=True)]
    return [students[index] for index in taken]


def _places(students: Sequence[PricedStudent]) -> list[tuple[float, ...]]:
    columns = []
    for name in ("layers", "hidden", "heads", "ffn"):
        values = [math.log(getattr(student.spec, name)) for student in students]
        low, span = min(values), max(values) - min(values)
        columns.append([(value - low) / span if span else 0.0 for value in values])
    return list(zip(*columns, strict=True))
