"""What can be said of a run from outside: facts about real processes, and of files that somebody damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from workbench import MEASURING, Workbench, is_living, kill, until

from edgekd.bench.agent import processes
from edgekd.bench.states import conclusion

GOES_ON = "time.sleep(0.005)"


def _concluded(bench: Workbench, run: str) -> str | None:
    return conclusion(bench.ask("state", run), quiet_s=0, where="here")


def _restate(bench: Workbench, run: str, **changed: Any) -> None:
    path = bench.place(run, "state.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_an_agent_that_is_killed_leaves_an_orphan_that_is_reaped_and_then_is_lost(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=60.0)
    bench.begun(run)
    children = until(lambda: len(bench.children(run)) == MEASURING and bench.children(run), "the children")
    kill(bench.stated(run)["pid"])
    assert _concluded(bench, run) == "ORPHAN"
    assert not bench.lock_is_free()
    bench.ask("reap", run)
    assert not any(is_living(child) for child in children)
    assert bench.lock_is_free()
    assert _concluded(bench, run) == "LOST"


def test_a_run_that_died_is_lost_and_its_reaping_leaves_the_next_measurement_alone(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    first, second = bench.order(min_duration_s=60.0), bench.order(min_duration_s=60.0)
    bench.begun(first)
    until(lambda: len(bench.children(first)) == MEASURING, "the children")
    for pid in (bench.stated(first)["pid"], *bench.children(first)):
        kill(pid)
    bench.begun(second, 1)
    assert _concluded(bench, first) == "LOST"
    bench.ask("reap", first)
    steps = bench.stated(second)["steps"]
    assert until(lambda: bench.stated(second)["steps"] > steps, "another inference")
    assert _concluded(bench, second) is None


@pytest.mark.parametrize("code", ["subprocess.Popen(['sleep', '60'])\ntime.sleep(60)", "time.sleep(60)"])
def test_what_an_orphan_started_is_reaped_with_it_and_strangers_are_not(bench: Workbench, code: str) -> None:
    bench.scripted(code)
    run = bench.order()
    bench.begun(run)
    wanted = MEASURING + ("Popen" in code)
    children = until(lambda: len(bench.children(run)) == wanted and bench.children(run), "the children")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        kill(bench.stated(run)["pid"])
        bench.ask("reap", run)
        assert not any(is_living(pid) for pid in children)
        assert stranger.poll() is None
        stranger.kill()


def test_a_process_that_only_has_the_number_of_the_supervisor_is_not_taken_for_it(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order()
    bench.ended(run)
    own = processes.start_time(os.getpid())
    assert own is not None
    for started, concluded in ((own, None), (own - 1, "LOST")):
        _restate(bench, run, state="RUNNING", pid=os.getpid(), session=os.getsid(0), starttime=started)
        assert _concluded(bench, run) == concluded
    bench.ask("reap", run)
    assert processes.start_time(os.getpid()) == own


def test_a_zombie_is_dead(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order()
    bench.ended(run)
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        until(lambda: not is_living(zombie.pid), "its end")
        started = processes.start_time(zombie.pid)
        assert started is not None
        _restate(bench, run, state="RUNNING", pid=zombie.pid, session=zombie.pid, starttime=started)
        assert _concluded(bench, run) == "LOST"


def test_a_board_that_was_started_anew_is_told_by_its_boot(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=60.0)
    bench.begun(run)
    bench.ask("cancel", run, 10)
    _restate(bench, run, state="RUNNING", boot_id="another")
    answer = bench.ask("state", run)
    assert (answer.alive, answer.left) == (False, 0)
    assert _concluded(bench, run) == "REBOOTED"


def test_a_supervisor_that_is_frozen_lives_and_does_not_beat_and_is_reaped_with_its_child(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=60.0)
    bench.begun(run)
    pid, children = bench.stated(run)["pid"], bench.children(run)
    os.kill(pid, signal.SIGSTOP)
    first, later = bench.ask("state", run), bench.ask("state", run, 1.2)
    assert later.alive
    assert first.state == later.state
    assert conclusion(later, quiet_s=31, where="here") == "HUNG"
    bench.ask("reap", run)
    assert not any(is_living(one) for one in (pid, *children))
    assert bench.lock_is_free()


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", '{"a": ' * 9000, " " * 70_000])
def test_a_state_that_cannot_be_read_is_told_as_damaged(bench: Workbench, text: str) -> None:
    run = bench.order()
    bench.place(run, "state.json").write_text(text, encoding="latin-1")
    answer = bench.ask("state", run)
    assert answer.state is None
    assert answer.damaged
    assert _concluded(bench, run) == "CORRUPT"


def test_a_run_that_never_began_is_lost(bench: Workbench) -> None:
    assert _concluded(bench, bench.order()) == "LOST"


def test_waiting_ends_with_the_run_or_with_the_time(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=1.0)
    bench.ask("launch", run)
    begun_s = time.monotonic()
    assert bench.ask("state", run, 0.1).alive
    answer = bench.ask("state", run, 30)
    assert answer.state is not None
    assert answer.state.state == "DONE"
    assert time.monotonic() - begun_s < 15
