from __future__ import annotations

import threading
import time

from edgekd.hosts.watch import Watch


def test_what_ends_in_time_is_not_cut() -> None:
    cut = threading.Event()
    with Watch(cut.set, timeout_s=60, stall_s=60) as watch:
        watch.moved()
    assert not cut.is_set()
    assert (watch.ran_out, watch.stalled) == (False, False)


def test_silence_is_cut_and_told_apart_from_the_deadline() -> None:
    cut = threading.Event()
    with Watch(cut.set, timeout_s=60, stall_s=0.05) as watch:
        assert cut.wait(5)
    assert (watch.ran_out, watch.stalled) == (False, True)
    cut.clear()
    with Watch(cut.set, timeout_s=0.05, stall_s=60) as watch:
        assert cut.wait(5)
    assert (watch.ran_out, watch.stalled) == (True, False)


def test_movement_puts_off_the_stall_but_not_the_deadline() -> None:
    cut = threading.Event()
    start = time.monotonic()
    with Watch(cut.set, timeout_s=0.6, stall_s=0.3) as watch:
        while not cut.wait(0.02):
            watch.moved()
    assert watch.ran_out
    assert time.monotonic() - start > 0.5


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with Watch(lambda: None, timeout_s=60):
        pass
    assert threading.active_count() == before
