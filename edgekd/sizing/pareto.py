"""The students that no other student beats in everything: latency and memory as small, capacity as large as possible.

Capacity (the parameter count) stands for the quality a student can reach, so more of it is better: without that, the
smallest student would be the whole set.
Source: Kung, Luccio, Preparata: On finding the maxima of a set of vectors, JACM 22(4), 1975 (the sweep).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Point = tuple[float, float, float]

BLOCK = 2048  # points compared at a time with all before them, our choice


class Staircase:
    """The points (latency, memory) that none before them beats, as latencies going up and memories going down."""

    def __init__(self) -> None:
        self.latencies: Numbers = np.zeros(0)
        self.memories: Numbers = np.zeros(0)

    def add(self, latencies: Numbers, memories: Numbers) -> None:
        """Take more points."""
        latencies, memories = np.concatenate([self.latencies, latencies]), np.concatenate([self.memories, memories])
        order = np.lexsort([memories, latencies])
        latencies, memories = latencies[order], memories[order]
        lowest = np.minimum.accumulate(memories)
        kept = np.ones(len(order), np.bool_)
        kept[1:] = lowest[1:] < lowest[:-1]
        self.latencies, self.memories = latencies[kept], memories[kept]

    def beats(self, latencies: Numbers, memories: Numbers) -> NDArray[np.bool_]:
        """Which of the points are no better than a point that was taken, in neither, and worse in one."""
        if not len(self.latencies):
            return np.zeros(len(latencies), np.bool_)
        return self._reaches("left", latencies, memories, np.less_equal) | self._reaches(
            "right", latencies, memories, np.less
        )

    def _reaches(self, side: str, latencies: Numbers, memories: Numbers, compare: np.ufunc) -> NDArray[np.bool_]:
        # The last step at or before a latency has the lowest memory of all of these.
        step = np.searchsorted(self.latencies, latencies, side) - 1  # type: ignore[call-overload]
        found: NDArray[np.bool_] = (step >= 0) & compare(self.memories[np.maximum(step, 0)], memories)
        return found


def pareto_set(latencies: Numbers, memories: Numbers, capacities: NDArray[np.generic]) -> NDArray[np.intp]:
    """The indices of the points that none dominates, in ascending order.

    A point dominates another when its latency and memory are not larger, its capacity is not smaller, and one of the
    three is better. Equal points do not dominate each other: all of them stay.
    """
    order = np.argsort(capacities, kind="stable")[::-1]
    left = order[~_beaten(latencies[order], memories[order])]
    points = list(zip(latencies[left].tolist(), memories[left].tolist(), capacities[left].tolist(), strict=True))
    return np.sort(left[_sweep(points)])


def _beaten(latencies: Numbers, memories: Numbers) -> NDArray[np.bool_]:
    """Which points one of an earlier block beats; whoever comes earlier has at least their capacity."""
    seen, found = Staircase(), np.zeros(len(latencies), np.bool_)
    for start in range(0, len(latencies), BLOCK):
        block = slice(start, start + BLOCK)
        found[block] = seen.beats(latencies[block], memories[block])
        left = ~found[block]
        seen.add(latencies[block][left], memories[block][left])
    return found


def _sweep(points: Sequence[Point]) -> list[int]:
    # Going down in capacity, whatever dominates a point has been seen before it; what was seen is kept as a staircase
    # of latencies going up and memories going down, so one look at one step decides.
    order = sorted(range(len(points)), key=lambda index: (-points[index][2], points[index][0], points[index][1]))
    latencies: list[float] = []
    memories: list[float] = []
    last_kept: Point | None = None
    kept = []
    for index in order:
        latency, memory, _ = points[index]
        step = bisect_right(latencies, latency)
        if step and memories[step - 1] <= memory:
            if points[index] == last_kept:
                kept.append(index)
            continue
        kept.append(index)
        last_kept = points[index]
        insert(latencies, memories, latency, memory)
    return kept


def insert(latencies: list[float], memories: list[float], latency: float, memory: float) -> None:
    """Put a step into a staircase of latencies going up and memories going down, in place of those it beats."""
    start = bisect_right(latencies, latency)
    if start and latencies[start - 1] == latency:
        start -= 1
    end = start
    while end < len(memories) and memories[end] >= memory:
        end += 1
    latencies[start:end] = [latency]
    memories[start:end] = [memory]
