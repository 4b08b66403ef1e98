"""The exact Pareto front of a space in boxes, where it is small enough to be found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import LEAF, Boxes, Corners, Places, Seen, Whole
from edgekd.sizing.choice import Standing
from edgekd.sizing.pareto import insert, pareto_set
from edgekd.sizing.table import Mask, Numbers

MOST_BOXES = 60_000  # looked at in search of a front, our choice: about two seconds


@dataclass
class Points:
    """The best candidates so far. Shapes: `places` [candidates, axes], the others [candidates]."""

    places: Places
    latencies: Numbers = field(default_factory=lambda: np.zeros(0))
    memories: Numbers = field(default_factory=lambda: np.zeros(0))
    capacities: Numbers = field(default_factory=lambda: np.zeros(0))

    def add(self, places: Places, capacities: NDArray[Any], middles: Sequence[tuple[Numbers, Numbers]]) -> None:
        """Take students, with latency and memory in each precision, and forget what is beaten."""
        for latencies, memories in middles:
            known = ~np.isnan(latencies)
            self.places = np.concatenate([self.places, places[known]])
            self.latencies = np.concatenate([self.latencies, latencies[known]])
            self.memories = np.concatenate([self.memories, memories[known]])
            self.capacities = np.concatenate([self.capacities, capacities[known]])
        kept = pareto_set(self.latencies, self.memories, self.capacities)
        self.places = self.places[kept]
        self.latencies, self.memories = self.latencies[kept], self.memories[kept]
        self.capacities = self.capacities[kept]

    def beat(self, latencies: Numbers, memories: Numbers, capacities: NDArray[Any]) -> Mask:
        """Which of the asked are no better than a point in anything, and worse in latency or memory."""
        found = np.zeros(len(latencies), np.bool_)
        steps_s: list[float] = []
        steps_bytes: list[float] = []
        ready = np.argsort(-self.capacities, kind="stable")
        columns = (self.capacities, self.latencies, self.memories)
        waiting = list(zip(*(values[ready].tolist() for values in columns), strict=True))
        order = np.argsort(-capacities, kind="stable")
        asked = zip(*(values[order].tolist() for values in (capacities, latencies, memories)), strict=True)
        at = 0
        for row, (capacity, latency, memory) in zip(order.tolist(), asked, strict=True):
            while at < len(waiting) and waiting[at][0] >= capacity:
                _step(steps_s, steps_bytes, *waiting[at][1:])
                at += 1
            step = bisect_right(steps_s, latency) - 1
            if step >= 0 and steps_bytes[step] <= memory:
                # An equal point beats nothing.
                found[row] = steps_s[step] < latency or steps_bytes[step] < memory
        return found


def _step(steps_s: list[float], steps_bytes: list[float], latency: float, memory: float) -> None:
    before = bisect_right(steps_s, latency) - 1
    if before < 0 or steps_bytes[before] > memory:
        insert(steps_s, steps_bytes, latency, memory)


def front_of(whole: Whole, bounds: Bounds, measured: Standing) -> Places | None:
    """The places of all students that none beats in latency, memory and capacity, by the middle of what is expected.

    What was `measured` beats others by what it took, and is not among the places. None where the front is too large to
    be found with MOST_BOXES boxes.
    """
    found: list[Places] = []
    points = Points(whole.roots().first[:0])
    # The longest input first: what has a longer one is listed whatever follows, and beats shorter ones.
    for sequence, roots in _by_length(whole):
        _take_measured(points, measured, sequence)
        if not _seek(whole, bounds, roots, points):
            return None
        found.append(points.places)
    places = np.unique(np.concatenate(found), axis=0)
    return places[(places >= 0).all(axis=1)]


def _by_length(whole: Whole) -> list[tuple[int, Boxes]]:
    roots, axes, sequences = whole.roots(), list(whole.grid.axes), whole.grid.sequences
    if "sequence" not in axes:
        return [(sequences[0], roots)]
    column = roots.first[:, axes.index("sequence")]
    return [(sequence, roots.at(column == place)) for place, sequence in reversed(list(enumerate(sequences)))]


def _take_measured(points: Points, measured: Standing, sequence: int) -> None:
    rows = measured.table.sequence == sequence
    if rows.any():
        nowhere = np.full((int(rows.sum()), points.places.shape[1]), -1, np.int32)
        capacities = measured.table.capacity[rows]
        points.add(nowhere, capacities, [(latency[rows], memory[rows]) for latency, memory in measured.middles])


def _seek(whole: Whole, bounds: Bounds, roots: Boxes, points: Points) -> bool:
    """Add the front of `roots` to `points`; False where there are too many boxes."""
    corners, seen = whole.corners(roots), 0
    while len(corners.boxes):
        seen += len(corners.boxes)
        if seen > MOST_BOXES:
            return False
        # What the students in corners beat need not be looked at.
        _take(points, whole.students(np.concatenate([corners.boxes.first, corners.boxes.last])), bounds)
        open_boxes = corners.boxes.at(_may_add(corners, points, bounds))
        small = open_boxes.combinations <= LEAF
        _take(points, whole.students(whole.combinations(open_boxes.at(small))), bounds)
        corners = whole.corners(whole.halves(open_boxes.at(~small)))
    return True


def _take(points: Points, students: Seen, bounds: Bounds) -> None:
    new = bounds.unmeasured(students.table)
    middles = [(latency[new], memory[new]) for latency, memory in bounds.middles(students.table)]
    points.add(students.places[new], students.table.capacity[new], middles)


def _may_add(corners: Corners, points: Points, bounds: Bounds) -> Mask:
    found = np.zeros(len(corners.boxes), np.bool_)
    for latencies, memories in bounds.middles(corners.first):
        found |= ~np.isnan(latencies) & ~points.beat(latencies, memories, corners.last.capacity)
    return found & corners.holds
