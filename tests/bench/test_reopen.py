"""A link that breaks is opened again for what may be done twice, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.bench.reopen import Reopening, lasting
from edgekd.errors import ConnectError, HostError, HostTimeout, LinkLost, RunError, SecurityError
from edgekd.hosts.base import Host
from edgekd.hosts.fake import Answer, FakeHost

TRUE = {("true",): Answer()}


class Flaky(FakeHost):
    """A board whose operations fail as often as `failures` has errors, all links together."""

    def __init__(self, failures: list[HostError]) -> None:
        super().__init__(TRUE)
        self.failures = failures

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return super().read(remote, max_bytes=max_bytes)


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def _reopening(opened: Callable[[], Host], clock: Clock, patience_s: float = 60.0) -> Reopening:
    return Reopening(opened, patience_s=patience_s, now=clock.now, sleep=clock.sleep)


def test_a_broken_link_is_opened_again_and_the_work_is_done() -> None:
    board = Flaky([HostError("broke"), HostTimeout("silent"), HostTimeout("silent")])
    board.write("a", b"1")
    with _reopening(lambda: board, Clock()) as host:
        assert host.read("a", max_bytes=9) == b"1"
        assert host.reopened == 3
        assert (host.name, host.python) == ("fake", "python3")


def test_a_link_that_breaks_again_and_again_is_not_the_boards_own_answer() -> None:
    clock, board = Clock(), Flaky([LinkLost("broke") for _ in range(5)])
    board.write("a", b"1")
    with _reopening(lambda: board, clock) as host:
        assert host.read("a", max_bytes=9) == b"1"
        assert host.reopened == 5
    assert clock.pauses[-1] > 10 * clock.pauses[0]


def test_links_that_open_and_break_end_with_the_patience() -> None:
    clock = Clock()
    host = _reopening(lambda: Flaky([LinkLost("broke")]), clock, patience_s=60.0)
    with pytest.raises(RunError, match="broke; no link to the board lasted") as caught:
        host.read("a", max_bytes=9)
    assert caught.value.state == "UNREACHABLE"
    assert clock.now_s == pytest.approx(60.0)


def test_patience_begins_with_the_failure_and_not_with_the_work() -> None:
    clock, board = Clock(), FakeHost(TRUE)
    failures = [LinkLost("broke after a long time")]

    def long_work(host: Host) -> str:
        if failures:
            clock.now_s += 500.0
            raise failures.pop()
        return host.name

    with _reopening(lambda: board, clock, patience_s=60.0) as host:
        assert host.lasting(long_work) == "fake"


@pytest.mark.parametrize("kind", [LinkLost, HostTimeout])
def test_a_link_that_breaks_while_the_workspace_is_made_is_opened_again(kind: type[HostError]) -> None:
    failures = [kind("broke"), ConnectError("no route")]

    def opened() -> Host:
        if failures:
            raise failures.pop(0)
        return Flaky([])

    with _reopening(opened, Clock()) as host:
        assert host.name == "fake"


def test_a_board_that_was_never_reached_is_told_at_once() -> None:
    clock = Clock()

    def opened() -> Host:
        raise ConnectError("no such host name")

    with pytest.raises(ConnectError, match="no such host name"):
        _reopening(opened, clock)
    assert clock.pauses == []


def test_the_boards_own_answer_is_not_asked_for_again_and_again() -> None:
    with _reopening(lambda: Flaky([]), Clock()) as host:
        with pytest.raises(HostError, match="absent cannot be read"):
            host.read("absent", max_bytes=9)
        assert host.reopened == 1


def test_pauses_grow_up_to_ten_seconds_with_jitter_until_the_patience_ends() -> None:
    clock, tries = Clock(), 0

    def opened() -> Host:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise ConnectError("no route")
        return Flaky([HostError("broke")])

    host = _reopening(opened, clock, patience_s=60.0)
    with pytest.raises(RunError, match=r"no route; no link to the board lasted for 60") as caught:
        host.read("a", max_bytes=9)
    assert caught.value.state == "UNREACHABLE"
    assert clock.now_s == pytest.approx(60.0)
    assert 0.07 <= clock.pauses[0] <= 0.13
    assert all(7.0 <= pause <= 13.0 for pause in clock.pauses[8:-1])
    assert len(set(clock.pauses)) > 5


def test_a_board_that_cannot_prove_who_it_is_ends_the_trying_at_once() -> None:
    clock, opened = Clock(), [Flaky([HostError("broke")])]

    def again() -> Host:
        if not opened:
            raise SecurityError("another key")
        return opened.pop()

    host = _reopening(again, clock)
    with pytest.raises(SecurityError, match="another key"):
        host.read("a", max_bytes=9)
    assert len(clock.pauses) == 1


def test_a_command_runs_once_however_the_link_is() -> None:
    runs: list[tuple[str, ...]] = []

    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        runs.append(argv)
        raise HostError("broke")

    host = _reopening(lambda: FakeHost(respond=respond), Clock())
    with pytest.raises(HostError, match="broke"):
        host.run(["measure"], timeout_s=1)
    assert runs == [("measure",)]
    assert host.reopened == 0


def test_all_that_may_be_done_twice_goes_through(tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    board = Flaky([])
    host = _reopening(lambda: board, Clock())
    assert host.put(tmp_path / "local", "there")
    host.write("other", b"y")
    assert host.read("other", max_bytes=1) == b"y"
    host.remove("other")
    assert set(board.files) == {"there"}


def test_a_host_that_cannot_be_opened_again_is_used_as_it_is() -> None:
    board = Flaky([HostError("broke")])
    with pytest.raises(HostError, match="broke"):
        lasting(board, lambda host: host.read("a", max_bytes=1))
