"""Spaces too large to look at every student: boxes of choices, cut in halves, and what cannot matter left out unseen.

Every count grows with every dimension, and so do the capacity and what a fit of prices that are not negative predicts.
One term may shrink: first corners have the least of it (least.py). So no student of a box takes less than the box's
first corner would, and none is more capable than its last corner would be, whether or not a student stands there. A box
that these bounds rule out is dropped whole, the others are halved down to single students: what is found is what
looking at each student would find.
Source: Land, Doig: An automatic method of solving discrete programming problems, Econometrica 28(3), 1960.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgekd.sizing.grid import SEPARATE, Grid
from edgekd.sizing.least import with_least_tails
from edgekd.sizing.space import possible
from edgekd.sizing.table import Mask, Numbers, Pricing, Table, table_of_specs

Places = NDArray[np.int32]

BATCH = 4096  # boxes halved at a time
MOST_BOXES = 400_000  # looked at in search of the best, our choice: a few seconds
LEAF = 16  # combinations in a box that is looked at whole
LAST = 1e-6  # times the length of a side that is cut after the others
NONE = -math.inf


@dataclass(frozen=True, eq=False)
class Boxes:
    """Parts of a space: on each axis the first and the last position. Shapes: [boxes, axes]."""

    first: Places
    last: Places

    def __len__(self) -> int:
        return len(self.first)

    def at(self, index: NDArray[np.generic]) -> Boxes:
        """The boxes at `index`."""
        return Boxes(self.first[index], self.last[index])

    @property
    def combinations(self) -> Numbers:
        """How many combinations each box holds."""
        found: Numbers = (self.last - self.first + 1).prod(axis=1, dtype=np.float64)
        return found

    def with_more(self, other: Boxes) -> Boxes:
        """These and the `other` boxes."""
        return Boxes(np.concatenate([self.first, other.first]), np.concatenate([self.last, other.last]))


@dataclass(frozen=True, eq=False)
class Corners:
    """The first and the last corner of each box, as if students stood there; `holds` says which may hold a student.

    No student of a box takes less than `first`, whose tails are the least in the box.
    """

    boxes: Boxes
    first: Table
    last: Table
    holds: Mask


@dataclass(frozen=True, eq=False)
class Seen:
    """Students with their places in the space. Shapes: `places` [students, axes]."""

    places: Places
    table: Table


@dataclass(frozen=True, eq=False)
class Best:
    """The places of the best students; `proven` says that there are no better ones. Shapes: [students, axes]."""

    places: Places
    proven: bool


Bound = Callable[[Corners], Numbers]
Score = Callable[[Table], Numbers]


@dataclass(frozen=True, eq=False)
class Whole:
    """The space of `grid` in boxes."""

    grid: Grid
    pricing: Pricing

    @cached_property
    def logs(self) -> list[Numbers]:
        """Where each choice lies on its axis, as a logarithm."""
        return [np.log(values.astype(np.float64)) for values in self.grid.axes.values()]

    def roots(self) -> Boxes:
        """The boxes to begin with: one for each choice on an axis on which something shrinks."""
        lengths = [len(values) if name in SEPARATE else 1 for name, values in self.grid.axes.items()]
        first = np.indices(lengths, dtype=np.int32).reshape(len(lengths), -1).T
        grown = [0 if name in SEPARATE else len(values) - 1 for name, values in self.grid.axes.items()]
        return Boxes(first, first + np.array(grown, np.int32))

    def halves(self, boxes: Boxes) -> Boxes:
        """Both halves of each box, cut across its longest side; across ffn last, for bounds on it are the closest."""
        spans = np.stack(
            [log[last] - log[first] for log, first, last in zip(self.logs, boxes.first.T, boxes.last.T, strict=True)]
        )
        for axis, name in enumerate(self.grid.axes):
            if name == "ffn":
                spans[axis] *= LAST
        rows, axis = np.arange(len(boxes)), spans.argmax(axis=0)
        middle = (boxes.first[rows, axis] + boxes.last[rows, axis]) // 2
        below, above = boxes.last.copy(), boxes.first.copy()
        below[rows, axis], above[rows, axis] = middle, middle + 1
        return Boxes(boxes.first, below).with_more(Boxes(above, boxes.last))

    def corners(self, boxes: Boxes) -> Corners:
        """The corners of `boxes`, without those that cannot hold a student by their dimensions."""
        first, last = (self.grid.at(list(places.T)) for places in (boxes.first, boxes.last))
        kept = self.grid.may_hold(first.specs, last.specs)
        low, high = (table_of_specs(each.specs.rows(kept), each.sequence[kept], self.pricing) for each in (first, last))
        least, most = self.grid.space.min_share, self.grid.space.max_share
        held = (high.shares >= least) & (low.shares <= most)
        return Corners(boxes.at(kept), with_least_tails(low, high), high, held)

    def students(self, places: Places) -> Seen:
        """The students among the combinations at `places`."""
        picked = self.grid.at(list(places.T))
        mask = possible(self.grid, picked)
        return Seen(places[mask], table_of_specs(picked.specs.rows(mask), picked.sequence[mask], self.pricing))

    def combinations(self, boxes: Boxes) -> Places:
        """The places of all combinations in `boxes`, box by box."""
        sides = (boxes.last - boxes.first + 1).astype(np.int64)
        numbers = sides.prod(axis=1)
        box = np.repeat(np.arange(len(boxes)), numbers)
        left = np.arange(len(box)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        places = np.empty((len(box), sides.shape[1]), np.int32)
        for axis in range(sides.shape[1] - 1, -1, -1):
            places[:, axis] = boxes.first[box, axis] + left % sides[box, axis]
            left //= sides[box, axis]
        return places

    def best(self, number: int, bound: Bound, score: Score, *, ties: bool = False) -> Best:
        """The `number` students of the largest score, with `ties` all that equal the last of them.

        `bound` is at least the score of every student of a box; a score of NONE does not count. After MOST_BOXES the
        best so far are given.
        """
        boxes, bounds = self._bounded(self.roots(), bound)
        places, scores, seen = boxes.first[:0], np.zeros(0), 0
        while True:
            least = np.partition(scores, len(scores) - number)[len(scores) - number] if len(scores) >= number else NONE
            boxes, bounds = _where(boxes, bounds, (bounds > least) | (ties & (bounds == least) & (bounds > NONE)))
            if not len(boxes) or seen > MOST_BOXES:
                return Best(places[scores >= least], proven=not len(boxes))
            leading = np.zeros(len(boxes), np.bool_)
            leading[np.argsort(-bounds, kind="stable")[:BATCH]] = True
            small = boxes.combinations <= LEAF
            found = self.students(self.combinations(boxes.at(leading & small)))
            values = score(found.table)
            places = np.concatenate([places, found.places[values > NONE]])
            scores = np.concatenate([scores, values[values > NONE]])
            seen += 2 * int((leading & ~small).sum())
            halves, halved = self._bounded(self.halves(boxes.at(leading & ~small)), bound)
            boxes, bounds = _where(boxes, bounds, ~leading)
            boxes, bounds = boxes.with_more(halves), np.concatenate([bounds, halved])

    def _bounded(self, boxes: Boxes, bound: Bound) -> tuple[Boxes, Numbers]:
        corners = self.corners(boxes)
        return corners.boxes, np.where(corners.holds, bound(corners), NONE)


def _where(boxes: Boxes, bounds: Numbers, mask: Mask) -> tuple[Boxes, Numbers]:
    return boxes.at(mask), bounds[mask]
