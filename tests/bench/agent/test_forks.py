from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgekd.bench.agent.forks import forked


def answer(end: int) -> bytes:
    with os.fdopen(end, "rb") as stream:
        return stream.read()


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def open_ends() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_answer_of_the_other_process_is_read_whole() -> None:
    before = open_ends()
    mine = os.getpid()
    child, end = forked(lambda: b"%d %d " % (os.getpid(), os.getppid()) + bytes(1 << 20))
    said = answer(end)
    assert said.startswith(b"%d %d " % (child, mine))
    assert said.endswith(bytes(1 << 20))
    assert ended(child) == 0
    assert open_ends() == before


def test_a_failure_is_said_and_never_returns(capfd: pytest.CaptureFixture[str]) -> None:
    def failing() -> bytes:
        raise KeyboardInterrupt

    child, end = forked(failing)
    assert answer(end) == b""
    assert ended(child) == 1
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_ends_that_are_not_its_are_closed_in_it() -> None:
    read_end, write_end = os.pipe()
    child, end = forked(lambda: answer(read_end), not_its=[write_end])
    os.write(write_end, b"and no more")
    os.close(write_end)  # the only end that was open: the other process sees the end of what is written
    assert answer(end) == b"and no more"
    assert ended(child) == 0
    os.close(read_end)


def test_an_answer_that_nobody_waits_for_is_dropped_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    def late() -> bytes:
        time.sleep(0.2)
        return bytes(1 << 20)

    child, end = forked(late)
    os.close(end)
    assert ended(child) == 2
    assert capfd.readouterr().err == ""


def test_no_room_for_a_process_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    before = open_ends()
    with pytest.raises(BlockingIOError):
        forked(bytes)
    assert open_ends() == before
