"""The count of inferences that a process shares with its children."""

from __future__ import annotations

import os
import time

from edgekd.bench.agent.steps import count, counted


def test_what_a_child_counts_is_seen_here() -> None:
    before = counted()
    count()
    pid = os.fork()
    if not pid:
        count()
        count()
        os._exit(0)
    os.waitpid(pid, 0)
    assert counted() - before == 3


def test_counting_takes_far_less_than_an_inference() -> None:
    begun_ns = time.perf_counter_ns()
    for _ in range(10_000):
        count()
    assert (time.perf_counter_ns() - begun_ns) / 10_000 < 5_000
