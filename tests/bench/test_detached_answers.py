"""What the client of a detached run believes: boards of scripts that say what no honest board would."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence

import pytest
from fake_agent import BOOT, done, sealed, told
from worksite import AGENT, ORDERS, SHORT, result_of, run_on

from edgekd.bench.detached import DetachedRun, Interrupted, Patience
from edgekd.bench.journal import new_run
from edgekd.bench.reopen import Reopening
from edgekd.errors import Corrupt, DiskFull, HostError, HostTimeout, LinkLost, RunError
from edgekd.hosts.base import Completed
from edgekd.hosts.fake import Answer, FakeHost

RESULT = {"format": 1, "runs": [{"shapes": {}, "run": {"samples_ns": [1, 2]}}]}
DATA = json.dumps(RESULT).encode()


def _fake(respond: Callable[[FakeHost, tuple[str, ...]], Answer]) -> DetachedRun:
    return run_on(FakeHost(respond=respond))


def test_a_result_cut_at_any_byte_is_corrupt_and_its_run_is_removed() -> None:
    for end in range(len(DATA)):

        def respond(_: FakeHost, argv: tuple[str, ...], end: int = end) -> Answer:
            files = sealed(argv, DATA)
            return Answer(stdout=told(argv), files={**files, f"runs/{argv[3]}/result.json": DATA[:end]})

        run = _fake(respond)
        with pytest.raises(Corrupt) as caught:
            result_of(run)
        assert caught.value.state == "CORRUPT"
        assert not [name for name in run.host.files if name.startswith("runs/")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["result.json", "manifest.json"])
def test_done_without_its_files_is_corrupt(missing: str) -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        files = {name: data for name, data in sealed(argv, DATA).items() if not name.endswith(missing)}
        return Answer(stdout=told(argv), files=files)

    with pytest.raises(Corrupt, match=f"{missing} cannot be read"):
        result_of(_fake(respond))


def test_a_result_of_another_boot_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="another run or boot"):
        result_of(_fake(lambda _, argv: Answer(stdout=told(argv), files=sealed(argv, DATA, boot_id=BOOT + "x"))))


def test_a_result_longer_than_its_bound_is_not_read() -> None:
    run = _fake(lambda _, argv: done(argv, RESULT))
    with pytest.raises(Corrupt, match="longer than the 10 bytes expected"):
        run.result(ORDERS, max_bytes=10, limit_s=1)


def test_a_damaged_state_is_corrupt_and_what_is_left_is_ended() -> None:
    asked: list[str] = []

    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        asked.append(argv[2])
        return Answer(stdout=told(argv, None, answer={"damaged": "no JSON"}))

    with pytest.raises(Corrupt, match="no JSON"):
        result_of(_fake(respond))
    assert asked == ["launch", "reap"]


@pytest.mark.parametrize("state", ["FINISHED", "done"])
def test_a_state_unknown_here_is_never_aresult_of(state: str) -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        return Answer(stdout=told(argv, state), files=sealed(argv, DATA))

    with pytest.raises(RunError, match="unknown here"):
        result_of(_fake(respond))


@pytest.mark.parametrize("state", ["REBOOTED", "LOST"])
def test_what_the_board_cannot_say_any_more_is_concluded(state: str) -> None:
    gone = {"alive": False, **({"boot_id": "b"} if state == "REBOOTED" else {})}
    run = _fake(lambda _, argv: Answer(stdout=told(argv, "RUNNING", answer=gone), files=sealed(argv, DATA)))
    with pytest.raises(RunError) as caught:
        result_of(run)
    assert caught.value.state == state


def test_a_run_that_beats_and_never_ends_is_given_up() -> None:
    clock, asked = [0.0], []

    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        clock[0] += 8.0
        asked.append(argv[2])
        return Answer(stdout=told(argv, "RUNNING", beat=int(clock[0])))

    run = DetachedRun(FakeHost(respond=respond), AGENT, new_run(), "pi", now=lambda: clock[0])
    with pytest.raises(RunError) as caught:
        run.result(ORDERS, max_bytes=9, limit_s=100)
    assert caught.value.state == "HUNG"
    assert 160 < clock[0] < 190
    assert asked[-1] == "reap"


def test_a_link_that_cannot_be_opened_again_leaves_the_run_where_it_is() -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        raise HostError("pi: the link broke while a command ran")

    run = _fake(respond)
    with pytest.raises(RunError, match="the link broke") as caught:
        result_of(run)
    assert caught.value.state == "UNREACHABLE"
    assert [name for name in run.host.files if name.startswith("runs/")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [LinkLost, HostTimeout])
def test_a_link_that_breaks_while_the_result_comes_home_leaves_it_there(kind: type[HostError]) -> None:
    class Breaking(FakeHost):
        def read(self, remote: str, *, max_bytes: int) -> bytes:
            raise kind(f"pi: reading {remote}: the link broke")

    run = run_on(Breaking(respond=lambda _, argv: done(argv, RESULT)))
    with pytest.raises(RunError, match="the link broke") as caught:
        result_of(run)
    assert caught.value.state == "UNREACHABLE"
    assert f"runs/{run.run}/result.json" in run.host.files  # type: ignore[attr-defined]


def test_a_disk_too_full_for_the_orders_is_told_as_that() -> None:
    class Full(FakeHost):
        def write(self, remote: str, data: bytes) -> None:
            raise DiskFull(f"pi: no room for {remote}")

    with pytest.raises(DiskFull, match="no room"):
        result_of(run_on(Full()))


def test_clearing_up_waits_once_for_a_board_that_does_not_answer() -> None:
    asked: list[str] = []

    class Gone(FakeHost):
        def remove(self, remote: str) -> None:
            asked.append(remote)
            raise RunError("no link", state="UNREACHABLE")

    run = run_on(Gone())
    run.remove()
    assert asked == [f"runs/{run.run}"]


def test_a_second_interruption_while_the_first_still_ends_a_question_is_not_lost() -> None:
    asked: list[str] = []

    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        asked.append(argv[2])
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
        return Answer()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="goes on there") as caught:
        result_of(run_on(FakeHost(respond=respond), patience=Patience(grace_s=60.0)))
    assert caught.value.goes_on
    assert asked == ["launch"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_board_that_is_slow_to_answer_gets_more_time_for_it() -> None:
    given: list[float] = []

    class Slow(FakeHost):
        def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
            given.append(timeout_s - SHORT.wait_s)
            if len(given) < 5:
                raise HostTimeout("slow")
            return super().run(argv, timeout_s=timeout_s, max_output_bytes=max_output_bytes)

    board = Slow(respond=lambda _, argv: done(argv, RESULT))
    with Reopening(lambda: board, sleep=lambda _: None) as host:
        assert result_of(run_on(host)) == RESULT
    assert given == [10.0, 20.0, 40.0, 60.0, 60.0]


@pytest.mark.parametrize("failures", [2, 3])
def test_a_question_that_the_board_cannot_answer_now_is_asked_again_and_the_run_is_not_given_up(failures: int) -> None:
    pauses: list[float] = []

    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[2] == "launch":
            return Answer(stdout=told(argv, "RUNNING"))
        if len(pauses) < failures and len(host.runs) <= failures + 1:
            return Answer(1, stderr=b"MemoryError")
        return done(argv, RESULT)

    host = FakeHost(respond=respond)
    run = DetachedRun(host, AGENT, new_run(), "pi", sleep=pauses.append)
    if failures == 2:
        assert json.loads(run.result(ORDERS, max_bytes=1 << 20, limit_s=9).data) == RESULT
    else:
        with pytest.raises(
            RunError, match="pi: the agent failed with status 1; the last it said: MemoryError"
        ) as caught:
            run.result(ORDERS, max_bytes=1 << 20, limit_s=9)
        assert caught.value.state == "UNREACHABLE"
        assert [name for name in host.files if name.startswith("runs/")]
    assert pauses == [1.0, 5.0]


def test_an_interruption_where_the_board_cannot_be_told_says_that_the_run_goes_on() -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[2] == "launch":
            raise KeyboardInterrupt
        raise HostError("no link")

    with pytest.raises(Interrupted, match="goes on there") as caught:
        result_of(run_on(FakeHost(respond=respond), patience=Patience(grace_s=0.0)))
    assert caught.value.goes_on
