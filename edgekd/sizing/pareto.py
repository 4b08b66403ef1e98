"""The students that no other student beats in everything: latency and memory as small, capacity as large as possible.

Capacity (the parameter count) stands for the quality a student can reach, so more of it is better: without that, the
smallest student would be the whole set.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

Point = tuple[float, float, float]


def pareto_set(points: Sequence[Point]) -> list[int]:
    """The indices of the points (latency, memory, capacity) that none dominates, in ascending order.

    A point dominates another when its latency and memory are not larger, its capacity is not smaller, and one of the
    three is better. Equal points do not dominate each other: all of them stay.
    """
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
        _insert(latencies, memories, latency, memory)
    return sorted(kept)


def _insert(latencies: list[float], memories: list[float], latency: float, memory: float) -> None:
    start = bisect_right(latencies, latency)
    if start and latencies[start - 1] == latency:
        start -= 1
    end = start
    while end < len(memories) and memories[end] >= memory:
        end += 1
    latencies[start:end] = [latency]
    memories[start:end] = [memory]
