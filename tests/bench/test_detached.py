"""Runs that outlive the link, the client and its supervisor: real processes, a real SSH server, a wire that is cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workbench import is_living, kill, scripted_python, until
from worksite import GOES_ON, ORDERS, Site, result_of, run_on

from edgekd.bench.detached import Patience
from edgekd.bench.journal import new_run
from edgekd.errors import RunError


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
        run = run_on(host)
        table = result_of(run)
        assert len(table["runs"][0]["run"]["samples_ns"]) == 3
        run.remove()
    assert site.is_clean()


def test_a_run_that_is_asked_for_again_is_the_samerun_on(site: Site) -> None:
    with site.opened() as host:
        first = run_on(host)
        table = result_of(first)
        assert result_of(run_on(host, first.run)) == table


def test_a_link_that_is_cut_loses_nothing(ssh: Site) -> None:
    with ssh.opened() as host:
        assert ssh.wire is not None
        run = run_on(host)
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=1.5))
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
        run = run_on(host)
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=0.5))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.cut()
        until(lambda: ssh.stated(run.run)["state"] == "DONE", "the end")
        ssh.wire.mend()
        thread.join(timeout=30)
    assert isinstance(answers[0], dict), answers


def test_a_link_that_falls_silent_is_noticed_and_opened_again(ssh: Site) -> None:
    with ssh.opened() as host:
        assert ssh.wire is not None
        run = run_on(host, patience=Patience(wait_s=0.5, reply_s=2.0))
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=1.0))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.silence()
        until(lambda: ssh.stated(run.run)["state"] == "DONE", "the end")
        ssh.wire.mend()
        thread.join(timeout=60)
    assert isinstance(answers[0], dict), answers


def test_a_link_that_stays_down_ends_unreachable_and_the_run_is_found_later(ssh: Site) -> None:
    with ssh.opened(patience_s=1.0) as host:
        assert ssh.wire is not None
        run = run_on(host)
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=1.0))
        until(lambda: ssh.stated(run.run).get("state") == "RUNNING", "the run")
        ssh.wire.cut()
        thread.join(timeout=30)
        (error,) = answers
        assert isinstance(error, RunError), error
        assert (error.state, error.exit_code) == ("UNREACHABLE", 4)
        assert "the same command finds it again" in str(error)
        ssh.wire.mend()
    with ssh.opened() as host:
        assert len(result_of(run_on(host, run.run), min_duration_s=1.0)["runs"]) == 1


def test_a_supervisor_that_is_killed_is_an_orphan_and_the_board_is_free(site: Site) -> None:
    with site.opened() as host:
        run = run_on(host)
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=60.0))
        until(lambda: site.stated(run.run).get("steps"), "an inference")
        kill(site.stated(run.run)["pid"])
        thread.join(timeout=30)
        (error,) = answers
        assert isinstance(error, RunError), error
        assert error.state == "ORPHAN"
        assert not (site.folder / "runs" / run.run).exists()
        assert len(result_of(run_on(host))["runs"]) == 1


def test_a_supervisor_that_is_frozen_is_hung_and_ended(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.states.QUIET_S", 1.0)
    with local.opened() as host:
        run = run_on(host)
        thread, answers = _in_thread(lambda: result_of(run, min_duration_s=60.0))
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
        result_of(run_on(host), **orders)
    assert (caught.value.state, caught.value.exit_code) == (state, 4)
    assert local.is_clean()


def test_two_users_of_one_board_the_second_is_told_of_the_first(local: Site) -> None:
    with local.opened() as host:
        first = run_on(host)
        thread, answers = _in_thread(lambda: result_of(first, min_duration_s=1.5))
        until(lambda: local.stated(first.run).get("state") == "RUNNING", "the run")
        with pytest.raises(RunError, match=f"another measurement runs there, of .*run {first.run}") as caught:
            result_of(run_on(host), lock_wait_s=0.1)
        assert caught.value.state == "BUSY"
        thread.join(timeout=30)
        assert isinstance(answers[0], dict), answers


def test_an_error_of_the_agent_is_ours_and_leaves_nothing(local: Site) -> None:
    with local.opened() as host, pytest.raises(RunError, match="status") as caught:
        result_of(run_on(host), threads="many", mode="plain", models=None)
    assert caught.value.state == "EXITED"


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
        table = result_of(run_on(host, run), min_duration_s=1.0)
    assert local.stated(run)["pid"] == pid
    assert json.loads((local.folder / "runs" / run / "result.json").read_text()) == table


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
        assert len(result_of(run_on(host, run), min_duration_s=3.0)["runs"]) == 1
