"""Who is tried: students that keep the limits and differ in shape, for that is what their parameters cannot tell."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekd.sizing.choice import Standing

LEAST_SHARE = 0.5  # of the leading student's capacity, our choice: trials are for shapes of about the same capacity
APART = math.log(1.1)  # students of one depth whose hidden and capacity differ less are near twins, our choice
MOST_LOOKED_AT = 20_000  # of the most capable ones, for students of one depth

Rows = NDArray[np.intp]


def entrants(standing: Standing, number: int) -> list[int]:
    """At most `number` students that keep the limits, the most capable first; none where nothing is known to.

    First the most capable one, then in turns the most capable of each greater and of each smaller depth, so that deeper
    and wider shapes are both among them; then others that are no near twins of these. All read inputs of one length.
    """
    table = standing.table
    leading = standing.best
    if leading is None:
        return []
    enough = table.capacity >= LEAST_SHARE * table.capacity[leading]
    rows = np.flatnonzero(standing.feasible & enough & (table.sequence == table.sequence[leading]))
    ordered = table.rank(rows)[::-1]
    taken = [leading, *_by_depth(standing, ordered, leading)][:number]
    for row in ordered[:MOST_LOOKED_AT].tolist():
        if len(taken) >= number:
            break
        if not _has_twin(standing, row, np.array(taken, np.intp)):
            taken.append(row)
    return [int(row) for row in table.rank(np.array(taken, np.intp))[::-1]]


def _by_depth(standing: Standing, ordered: Rows, leading: int) -> list[int]:
    """The most capable of each other depth, deeper and shallower ones in turns."""
    layers = standing.table.specs.layers
    _, first = np.unique(layers[ordered], return_index=True)
    each = ordered[np.sort(first)].tolist()
    deeper = [row for row in each if layers[row] > layers[leading]]
    wider = [row for row in each if layers[row] < layers[leading]]
    turns: list[int] = []
    for index in range(max(len(deeper), len(wider))):
        turns += [*deeper[index : index + 1], *wider[index : index + 1]]
    return turns


def _has_twin(standing: Standing, row: int, taken: Rows) -> bool:
    specs, capacity = standing.table.specs, standing.table.capacity
    near = specs.layers[taken] == specs.layers[row]
    for values in (specs.hidden, capacity):
        near &= np.abs(np.log(values[taken] / values[row])) < APART
    return bool(near.any())
