"""Faults of docs/reliability.md that take the whole way: a real server, the real agent, scripted inferences."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workbench import scripted_python
from worksite import GOES_ON, result_of, run_on

from edgekd.bench.packed import packed_agent
from edgekd.bench.plan import BenchPlan
from edgekd.bench.reopen import Reopening
from edgekd.bench.session import artifact_from_file, measure
from edgekd.gate.judge import judge
from edgekd.gate.verdict import Outcome
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host
from edgekd.probe.doctor import examine
from edgekd.sla import Sla
from tests.lab.chaos import ChaosProxy, Faults
from tests.lab.sshd import Board

PLAN = BenchPlan(processes=1, warmup_s=0.0, min_duration_s=0.0, min_samples=60, dims={"batch": 1, "sequence": 16})


@contextmanager
def reached(board: Board, port: int, folder: Path) -> Iterator[Reopening]:
    """The workspace `folder`/work with the agent in it, reached through `port`; its inferences take 5 ms."""
    work = folder / "work"
    work.mkdir()
    (work / "agent.pyz").write_bytes(packed_agent())
    python = scripted_python(folder / "runtime", GOES_ON)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {board.public_host_key}\n")
    url = f"ssh://{board.user}@127.0.0.1:{port}"
    with Reopening(
        lambda: open_host(url, key=board.key, known_hosts=folder / "known_hosts", workspace=str(work), python=python),
        patience_s=30.0,
    ) as host:
        yield host


@pytest.mark.parametrize("seed", [1, 2])
def test_a_link_that_is_reset_after_any_number_of_bytes_loses_nothing(board: Board, tmp_path: Path, seed: int) -> None:
    after_bytes = random.Random(seed).randrange(200, 3500)
    with ChaosProxy(board.port) as proxy, reached(board, proxy.port, tmp_path) as host:
        run = run_on(host)
        proxy.strike("reset")
        # What comes next is a connection of its own, and so are those after it: the next two break somewhere.
        direction = "up" if seed % 2 else "down"
        proxy.faults = Faults(kind="reset", after_bytes=after_bytes, direction=direction, times=2)
        table = result_of(run, min_duration_s=0.5)
        assert [event.kind for event in proxy.events].count("reset") == 1 + 2
        assert {event.passed for event in proxy.events[1:]} == {after_bytes}
    assert len(table["runs"][0]["run"]["samples_ns"]) > 20
    place = tmp_path / "work" / "runs" / run.run
    assert json.loads((place / "result.json").read_text()) == table
    assert json.loads((place / "state.json").read_text())["state"] == "DONE"


NOISE = """
: > "$HOME/read"
echo 'Welcome to the board'; echo 'You have mail' >&2
printf 'EDGEKD1 0123456789abcdef 2 abc\\nedgekd-'; printf '\\033[2J'
i=0; while [ $i -lt 2000 ]; do echo 'a message of the day that does not end'; i=$((i + 1)); done
"""


def test_a_board_whose_login_shell_talks_is_measured_as_any_other(
    start_board: Callable[..., Board], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in (".bashrc", ".kshrc", ".zshenv"):
        (home / name).write_text(NOISE)
    noisy = start_board(f"SetEnv HOME={home} ENV={home}/.kshrc")
    with reached(noisy, noisy.port, tmp_path) as host:
        assert len(result_of(run_on(host))["runs"][0]["run"]["samples_ns"]) == 3
        host.write("there", b"x" * 100_000)
        assert host.read("there", max_bytes=100_000) == b"x" * 100_000
    assert (home / "read").exists(), "no login shell has read what was written for it"


OFF_BY_TEN_YEARS = """
import time
_time, _time_ns, _gettime, _count = time.time, time.time_ns, time.clock_gettime, [0]
def _off():
    _count[0] += 1
    return -10 * 31_557_600 - 3600 * _count[0]  # and at every look an hour further back
time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + _off() * 10**9
"""


def test_a_calendar_that_is_years_off_and_runs_backwards_changes_no_sample_and_is_told(
    classifier: Path, tmp_path: Path
) -> None:
    python = scripted_python(tmp_path / "runtime", GOES_ON)
    (tmp_path / "runtime" / "sitecustomize.py").write_text(OFF_BY_TEN_YEARS)
    with LocalHost(tmp_path / "work", python=python) as host:
        years = host.run([python, "-c", "import time; print(time.gmtime(time.time())[0])"], timeout_s=60)
        (record,) = measure(host, [(classifier, artifact_from_file(classifier))], PLAN)
        checks = {check.name: check for check in examine(host, "local").checks}
    assert int(years.stdout) <= 2020
    (run,) = record.runs
    assert len(run.samples_ns) == 60
    assert all(5_000_000 <= sample < 5_000_000_000 for sample in run.samples_ns)
    assert record.host.vitals[0].suspended_s == pytest.approx(0.0, abs=0.005)
    assert checks["clock"].state == "advice"
    assert "behind" in checks["clock"].found


SLEEPS = """
import os, time
_gettime = time.clock_gettime
def _clock(number):
    slept = number == time.CLOCK_BOOTTIME and os.path.exists(os.environ["SLEPT"])
    return _gettime(number) + (2.0 if slept else 0.0)
time.clock_gettime = _clock
"""


@pytest.mark.parametrize("sleeps", [False, True])
def test_a_board_that_slept_while_it_measured_is_not_judged(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeps: bool
) -> None:
    """The clock that counts sleep goes two seconds ahead in the middle, as after a suspend of the board."""
    monkeypatch.setenv("SLEPT", str(tmp_path / "slept"))
    suspend = "if self.count == 20: open(os.environ['SLEPT'], 'w').close()" if sleeps else "pass"
    python = scripted_python(tmp_path / "runtime", f"{GOES_ON}\n{suspend}")
    (tmp_path / "runtime" / "sitecustomize.py").write_text(SLEEPS)
    with LocalHost(tmp_path / "work", python=python) as host:
        (record,) = measure(host, [(classifier, artifact_from_file(classifier))], PLAN)
    (criterion,) = judge([record], Sla.model_validate({"latency": {"p50": "60 s"}})).criteria
    assert record.host.vitals[0].suspended_s == pytest.approx(2.0 if sleeps else 0.0, abs=0.1)
    assert (criterion.reason == "SUSPENDED") is sleeps
    assert not sleeps or criterion.outcome is Outcome.INCONCLUSIVE
