"""Runs that outlive the link, the client and its supervisor: real processes, a real SSH server, a wire that is cut."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_agent import BOOT, done, sealed, told
from wire import Wire
from workbench import QUICK, is_living, kill, scripted_python, until

from edgekd.bench import reopen
from edgekd.bench.detached import DetachedRun, Interrupted, Patience
from edgekd.bench.journal import Journal, new_run
from edgekd.bench.packed import packed_agent
from edgekd.bench.reopen import Reopening
from edgekd.bench.results import agent_error
from edgekd.errors import Corrupt, HostError, InputError, RunError
from edgekd.hosts.base import Host
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host

GOES_ON = "time.sleep(0.005)"
AGENT = "agent.pyz"
ORDERS = {
    **QUICK.spec(), "format": 1, "mode": "plain", "input_data": None, "models": [{"path": "none.onnx", "dims": {}}],
    "lock_wait_s": 1.0, "total_s": 60.0,
}  # fmt: skip
SHORT = Patience(wait_s=1.0, reply_s=10.0, grace_s=0.3)


def _run(host: Host, run: str | None = None, *, patience: Patience = SHORT) -> DetachedRun:
    return DetachedRun(host, AGENT, run or new_run(), f"{host.name}: tiny", patience=patience)


def _result(run: DetachedRun, **orders: Any) -> dict[str, Any]:
    kept = run.result({**ORDERS, **orders}, max_bytes=1 << 20, limit_s=70)
    table = dict(json.loads(kept.data))
    assert kept.samples == sum(len(value) for value in table["runs"][0]["run"].values() if isinstance(value, list))
    return table


class Site:
    """A workspace with an agent whose inferences are scripted, and its host, local or over a wire."""

    def __init__(self, folder: Path, kind: str, request: pytest.FixtureRequest, stack: contextlib.ExitStack) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        (self.folder / AGENT).write_bytes(packed_agent())
        self.home, self.kind, self._request, self._stack = folder, kind, request, stack
        self.wire: Wire | None = None

    def opened(self, code: str = GOES_ON, patience_s: float = 30.0) -> Reopening:
        runtime = self.home / "runtime"
        python = str(runtime / "python") if runtime.exists() else scripted_python(runtime, code)
        if self.kind == "local":
            return Reopening(lambda: LocalHost(self.folder, python=python))
        board = self._request.getfixturevalue("board")
        if self.wire is None:
            self.wire = self._stack.enter_context(Wire(board.port))
        known = self.home / "known_hosts"
        known.write_text(f"[127.0.0.1]:{self.wire.port} {board.public_host_key}\n")
        url = f"ssh://{board.user}@127.0.0.1:{self.wire.port}"
        return Reopening(
            lambda: open_host(url, key=board.key, known_hosts=known, workspace=str(self.folder), python=python),
            patience_s=patience_s,
        )

    def stated(self, run: str) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.folder / "runs" / run / "state.json").read_text()))
        return {}

    def is_clean(self) -> bool:
        runs = list((self.folder / "runs").iterdir())
        return runs == [] and (self.folder / "lock").read_bytes() == b""


@pytest.fixture(params=["local", "ssh"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from _site(tmp_path, request.param, request)


@pytest.fixture
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from _site(tmp_path, "local", request)


@pytest.fixture
def ssh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from _site(tmp_path, "ssh", request)


def _site(folder: Path, kind: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        site = Site(folder, kind, request, stack)
        yield site
        host = LocalHost(site.folder, python=sys.executable)
        for path in (site.folder / "runs").glob("*/state.json"):
            host.run([sys.executable, AGENT, "reap", path.parent.name, "0" * 16, "0"], timeout_s=30)


def _in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []

    def kept() -> None:
        try:
            answers.append(work())
        except Exception as error:  # noqa: BLE001  the test looks at it
            answers.append(error)

    thread = threading.Thread(target=kept)
    thread.start()
    return thread, answers


def test_a_run_comes_home_and_leaves_nothing_but_blobs(site: Site) -> None:
    with site.opened() as host:
        run = _run(host)
        table = _result(run)
        assert len(table["runs"][0]["run"]["samples_ns"]) == 3
        run.remove()
    assert site.is_clean()


def test_a_run_that_is_asked_for_again_is_the_same_run(site: Site) -> None:
    with site.opened() as host:
        first = _run(host)
        table = _result(first)
        assert _result(_run(host, first.run)) == table


def test_the_first_look_at_a_short_run_is_the_last(local: Site) -> None:
    with local.opened() as host:
        begun_s = time.monotonic()
        table = _result(_run(host, patience=Patience()))
        took_s = time.monotonic() - begun_s
    measured_s = sum(table["runs"][0]["run"]["samples_ns"]) / 1e9
    assert took_s - measured_s < 3.0


def test_a_link_that_is_cut_loses_nothing(ssh: Site) -> None:
    with ssh.opened() as host:
        assert ssh.wire is not None
        run = _run(host)
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=1.5))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.cut()
        pid = ssh.stated(run.run)["pid"]
        time.sleep(0.2)
        ssh.wire.mend()
        thread.join(timeout=30)
        assert host.reopened >= 1
        assert ssh.wire.connections >= 2
    (table,) = answers
    assert isinstance(table, dict), table
    assert len(table["runs"][0]["run"]["samples_ns"]) > 50
    assert ssh.stated(run.run)["pid"] == pid


def test_a_run_that_ends_while_the_link_is_down_is_fetched_afterwards(ssh: Site) -> None:
    with ssh.opened() as host:
        assert ssh.wire is not None
        run = _run(host)
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=0.5))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.cut()
        until(lambda: ssh.stated(run.run)["state"] == "DONE", "the end")
        ssh.wire.mend()
        thread.join(timeout=30)
    assert isinstance(answers[0], dict), answers


def test_a_link_that_falls_silent_is_noticed_and_opened_again(ssh: Site) -> None:
    with ssh.opened() as host:
        assert ssh.wire is not None
        run = _run(host, patience=Patience(wait_s=0.5, reply_s=1.5))
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=1.0))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.silence()
        until(lambda: ssh.stated(run.run)["state"] == "DONE", "the end")
        ssh.wire.mend()
        thread.join(timeout=60)
    assert isinstance(answers[0], dict), answers


def test_a_link_that_stays_down_ends_unreachable_and_the_run_is_found_later(ssh: Site) -> None:
    with ssh.opened(patience_s=1.0) as host:
        assert ssh.wire is not None
        run = _run(host)
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=1.0))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.cut()
        thread.join(timeout=30)
        (error,) = answers
        assert isinstance(error, RunError), error
        assert (error.state, error.exit_code) == ("UNREACHABLE", 4)
        assert "the same command finds it again" in str(error)
        ssh.wire.mend()
    with ssh.opened() as host:
        assert len(_result(_run(host, run.run), min_duration_s=1.0)["runs"]) == 1


def test_a_supervisor_that_is_killed_is_an_orphan_and_the_board_is_free(site: Site) -> None:
    with site.opened() as host:
        run = _run(host)
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=60.0))
        until(lambda: site.stated(run.run).get("state") == "RUNNING", "the run")
        kill(site.stated(run.run)["pid"])
        thread.join(timeout=30)
        (error,) = answers
        assert isinstance(error, RunError), error
        assert error.state == "ORPHAN"
        assert not (site.folder / "runs" / run.run).exists()
        assert len(_result(_run(host))["runs"]) == 1


def test_a_supervisor_that_is_frozen_is_hung_and_ended(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.states.QUIET_S", 1.0)
    with local.opened() as host:
        run = _run(host)
        thread, answers = _in_thread(lambda: _result(run, min_duration_s=60.0))
        until(lambda: local.stated(run.run).get("state") == "RUNNING", "the run")
        pid = local.stated(run.run)["pid"]
        os.kill(pid, signal.SIGSTOP)
        thread.join(timeout=30)
    assert isinstance(answers[0], RunError), answers
    assert answers[0].state == "HUNG"
    assert not is_living(pid)


@pytest.mark.parametrize(
    ("code", "orders", "state", "said"),
    [
        ("os._exit(7)", {}, "EXITED", "status 7"),
        (
            "print('no GPU', file=sys.stderr, flush=True); os.abort()",
            {},
            "SIGNALED",
            "signal 6; the last it said: no GPU",
        ),
        ("os.kill(os.getpid(), 9)", {}, "SIGNALED", "possibly out of memory"),
        (GOES_ON, {"min_duration_s": 60.0, "total_s": 0.3}, "TIMEOUT", "did not end within its time"),
    ],
)
def test_each_end_without_a_result_has_a_state_and_leaves_nothing(
    local: Site, code: str, orders: dict[str, Any], state: str, said: str
) -> None:
    with local.opened(code) as host, pytest.raises(RunError, match=said) as caught:
        _result(_run(host), **orders)
    assert (caught.value.state, caught.value.exit_code) == (state, 4)
    assert local.is_clean()


def test_two_users_of_one_board_the_second_is_told_of_the_first(local: Site) -> None:
    with local.opened() as host:
        first = _run(host)
        thread, answers = _in_thread(lambda: _result(first, min_duration_s=1.5))
        until(lambda: local.stated(first.run).get("state") == "RUNNING", "the run")
        with pytest.raises(RunError, match=f"another measurement runs there, of .*run {first.run}") as caught:
            _result(_run(host), lock_wait_s=0.1)
        assert caught.value.state == "BUSY"
        thread.join(timeout=30)
        assert isinstance(answers[0], dict), answers


def test_an_error_of_the_agent_is_ours_and_leaves_nothing(local: Site) -> None:
    with local.opened() as host, pytest.raises(RunError, match="status") as caught:
        _result(_run(host), threads="many", mode="plain", models=None)
    assert caught.value.state == "EXITED"
    assert isinstance(agent_error({"kind": "shape", "message": "m"}, "pi"), InputError)


CLIENT = """
import json, sys, time
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
from edgekd.bench.detached import DetachedRun, Interrupted, Patience
from edgekd.bench.reopen import Reopening
from edgekd.hosts.local import LocalHost
def sleep(seconds):
    print("interrupted", flush=True)
    time.sleep(seconds)
with Reopening(lambda: LocalHost(Path(sys.argv[2]), python=sys.argv[3])) as host:
    patience = Patience(wait_s=1.0, grace_s=float(sys.argv[6]))
    run = DetachedRun(host, "agent.pyz", sys.argv[4], "here", patience=patience, sleep=sleep)
    try:
        run.result(json.loads(sys.argv[5]), max_bytes=1 << 20, limit_s=70)
    except Interrupted as error:
        print(error, flush=True)
        sys.exit(130 + error.goes_on)
"""


def _client(site: Site, run: str, *, min_duration_s: float, grace_s: float = 0.2) -> subprocess.Popen[str]:
    orders = json.dumps({**ORDERS, "min_duration_s": min_duration_s})
    python = scripted_python(site.home / "runtime", GOES_ON)
    paths = json.dumps([str(Path(__file__).parents[2])])
    argv = [sys.executable, "-c", CLIENT, paths, str(site.folder), python, run, orders, str(grace_s)]
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: site.stated(run).get("state") == "RUNNING", "the run")
    return client


def test_a_client_that_is_killed_finds_its_run_again_with_the_same_samples(local: Site) -> None:
    run = new_run()
    with _client(local, run, min_duration_s=1.0) as client:
        client.kill()
    pid = local.stated(run)["pid"]
    assert is_living(pid)
    with local.opened() as host:
        table = _result(_run(host, run), min_duration_s=1.0)
    assert local.stated(run)["pid"] == pid
    assert json.loads((local.folder / "runs" / run / "result.json").read_text()) == table


def test_one_interruption_cancels_the_run_on_the_board(local: Site) -> None:
    run = new_run()
    with _client(local, run, min_duration_s=60.0) as client:
        pid = local.stated(run)["pid"]
        client.send_signal(signal.SIGINT)
        said, _ = client.communicate(timeout=20)
    assert client.returncode == 130, said
    assert "the run on the board was cancelled" in said
    until(lambda: not is_living(pid), "its end")
    assert local.is_clean()


def test_two_interruptions_leave_the_run_to_itself_and_say_how_to_find_it(local: Site) -> None:
    run = new_run()
    with _client(local, run, min_duration_s=3.0, grace_s=20.0) as client:
        client.send_signal(signal.SIGINT)
        assert client.stdout is not None
        assert client.stdout.readline() == "interrupted\n"
        client.send_signal(signal.SIGINT)
        said, _ = client.communicate(timeout=20)
    assert client.returncode == 131, said
    assert f"run {run} goes on there. The same command finds it again" in said
    with local.opened() as host:
        assert len(_result(_run(host, run), min_duration_s=3.0)["runs"]) == 1


RESULT = {"format": 1, "runs": [{"shapes": {}, "run": {"samples_ns": [1, 2]}}]}
DATA = json.dumps(RESULT).encode()


def _fake(respond: Callable[[FakeHost, tuple[str, ...]], Answer]) -> DetachedRun:
    return _run(FakeHost(respond=respond))


def test_a_result_cut_at_any_byte_is_corrupt_and_its_run_is_removed() -> None:
    for end in range(len(DATA)):

        def respond(_: FakeHost, argv: tuple[str, ...], end: int = end) -> Answer:
            files = sealed(argv, DATA)
            return Answer(stdout=told(argv), files={**files, f"runs/{argv[3]}/result.json": DATA[:end]})

        run = _fake(respond)
        with pytest.raises(Corrupt) as caught:
            _result(run)
        assert caught.value.state == "CORRUPT"
        assert not [name for name in run.host.files if name.startswith("runs/")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["result.json", "manifest.json"])
def test_done_without_its_files_is_corrupt(missing: str) -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        files = {name: data for name, data in sealed(argv, DATA).items() if not name.endswith(missing)}
        return Answer(stdout=told(argv), files=files)

    with pytest.raises(Corrupt, match=f"{missing} cannot be read"):
        _result(_fake(respond))


def test_a_result_of_another_boot_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="another run or boot"):
        _result(_fake(lambda _, argv: Answer(stdout=told(argv), files=sealed(argv, DATA, boot_id=BOOT + "x"))))


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
        _result(_fake(respond))
    assert asked == ["launch", "reap"]


@pytest.mark.parametrize("state", ["FINISHED", "done"])
def test_a_state_unknown_here_is_never_a_result(state: str) -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        return Answer(stdout=told(argv, state), files=sealed(argv, DATA))

    with pytest.raises(RunError, match="unknown here"):
        _result(_fake(respond))


@pytest.mark.parametrize("state", ["REBOOTED", "LOST"])
def test_what_the_board_cannot_say_any_more_is_concluded(state: str) -> None:
    gone = {"alive": False, **({"boot_id": "b"} if state == "REBOOTED" else {})}
    run = _fake(lambda _, argv: Answer(stdout=told(argv, "RUNNING", answer=gone), files=sealed(argv, DATA)))
    with pytest.raises(RunError) as caught:
        _result(run)
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
        _result(run)
    assert caught.value.state == "UNREACHABLE"
    assert [name for name in run.host.files if name.startswith("runs/")]  # type: ignore[attr-defined]


def test_an_interruption_where_the_board_cannot_be_told_says_that_the_run_goes_on() -> None:
    def respond(_: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[2] == "launch":
            raise KeyboardInterrupt
        raise HostError("no link")

    with pytest.raises(Interrupted, match="goes on there") as caught:
        _result(_run(FakeHost(respond=respond), patience=Patience(grace_s=0.0)))
    assert caught.value.goes_on


def test_a_journal_and_a_run_agree_on_names(tmp_path: Path) -> None:
    assert len(Journal(tmp_path).run_of("a" * 32)) == len(new_run()) == 26
    assert reopen.PATIENCE_S >= 60
