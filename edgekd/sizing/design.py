"""Which students to measure for a latency calibration: those that span the space, the same ones every time."""

from __future__ import annotations

import numpy as np

from edgekd.sizing.table import Numbers, Table


def spanning(table: Table, number: int) -> list[int]:
    """At most `number` rows of `table`: the one of least work, of most work, of median work, then always the farthest.

    Far is meant in the dimensions and the length of input, each as a logarithm scaled to its range, from the nearest
    student already taken. A fit predicts badly beyond the students it was made from, so these reach to the ends of the
    space; benchmarks/sizing_fit.py compares them with random ones.
    """
    # Ties go to the one of least work, which is also the one measured fastest.
    order = np.lexsort([*reversed(table.specs.columns), table.sequence, table.counts.macs])
    if number >= len(order):
        return [int(row) for row in order]
    places = _places(table)[:, order]
    taken = [0, len(order) - 1, len(order) // 2][:number]
    distances = np.min([_squares(places, at) for at in taken], axis=0)
    while len(taken) < number:
        farthest = int(np.argmax(distances))
        taken.append(farthest)
        distances = np.minimum(distances, _squares(places, farthest))
    return [int(order[at]) for at in taken]


def _squares(places: Numbers, at: int) -> Numbers:
    found: Numbers = ((places - places[:, at : at + 1]) ** 2).sum(axis=0)
    return found


def _places(table: Table) -> Numbers:
    columns = []
    for values in (*table.specs.columns, table.sequence):
        logs = np.log(values)
        span = logs.max() - logs.min()
        if span:
            columns.append((logs - logs.min()) / span)
    return np.array(columns or [np.zeros(len(table))])
