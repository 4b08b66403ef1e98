"""The supervisor: every way in which a run ends, with real processes, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from workbench import MEASURING, RUNTIME, Workbench, is_living, kill, result_of, said_by, until

from edgekd.bench.agent.board_lock import common_path
from edgekd.bench.agent.folder import MANIFEST
from edgekd.bench.agent.supervise import BEAT_S
from edgekd.bench.states import GOING, SAID

SLEEPS = "time.sleep(60)"
GOES_ON = "time.sleep(0.005)"


def test_a_run_that_is_done_leaves_a_sealed_result_and_a_free_lock(bench: Workbench, classifier: Path) -> None:
    run = bench.order(classifier, dims={"batch": 1, "sequence": 8})
    assert bench.ended(run).state == "DONE"
    answer = until(lambda: (said := bench.ask("state", run)) and not said.alive and said, "its end")
    assert (answer.lock_free, answer.left) == (True, 0)
    samples = result_of(bench, run)["runs"][0]["run"]["samples_ns"]
    manifest = json.loads(bench.place(run, "manifest.json").read_text())
    assert answer.state.steps == manifest["samples"] == len(samples) + 3
    assert manifest["boot_id"] == answer.boot_id
    assert 0 < manifest["begun_ns"] < manifest["ended_ns"] < answer.now_ns
    assert (bench.folder / "lock").read_bytes() == b""
    assert {path.name for path in bench.place(run).iterdir()} == {
        "spec.json", "run.lock", "state.json", "result.json", "manifest.json",
    }  # fmt: skip


def test_a_supervisor_is_tied_to_nothing_of_its_launcher(bench: Workbench) -> None:
    bench.scripted(SLEEPS)
    run = bench.order()
    launcher = subprocess.Popen(bench.argv("launch", run), cwd=bench.folder, stdout=subprocess.PIPE)
    launcher.communicate()
    pid, session = (int(bench.stated(run)[name]) for name in ("pid", "session"))
    assert session not in {os.getsid(0), launcher.pid, pid}
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[4]) == 0, "it has a terminal"
    opened = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    locks = {str(bench.folder / "lock"), common_path(), str(bench.place(run, "run.lock"))}
    assert {path for path in opened if not path.startswith("pipe:")} == {"/dev/null", *locks}
    assert pid in bench.processes(run)


def test_a_launch_that_is_sent_again_begins_nothing(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=30.0)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: bench.ask("launch", run), range(4)))
    pids = {answer.state.pid for answer in [*answers, bench.ask("launch", run)] if answer.state is not None}
    assert len(pids) == 1
    until(lambda: len(bench.children(run)) == MEASURING, "the children")
    bench.ask("cancel", run, 10)
    assert bench.ask("launch", run).state == bench.ask("state", run).state
    assert bench.stated(run)["state"] == "CANCELLED"


def test_it_beats_while_the_measuring_process_does_nothing(bench: Workbench) -> None:
    bench.scripted(SLEEPS)
    run = bench.order()
    first = bench.begun(run).state
    assert first is not None
    later = until(lambda: bench.stated(run)["beat"] > first.beat + 1 and bench.stated(run), "a beat")
    assert later["state"] == "RUNNING"
    assert BEAT_S <= 1.0
    kill(bench.children(run)[0])
    until(lambda: bench.stated(run)["state"] == "SIGNALED", "the end")


@pytest.mark.parametrize(
    ("code", "state", "told"),
    [
        ("os._exit(7)", "EXITED", {"exit_status": 7}),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGNALED", {"signal": 11}),
        ("raise KeyError('odd')", "EXITED", {"exit_status": 1}),
        ("raise RuntimeError('no such kernel')", "EXITED", {"exit_status": 3}),
    ],
)
def test_a_measuring_process_that_ends_without_a_result(
    bench: Workbench, code: str, state: str, told: dict[str, int]
) -> None:
    bench.scripted(f"print('last words', file=sys.stderr, flush=True)\n{code}")
    run = bench.order()
    ended = bench.ended(run)
    assert ended.state == state
    assert {name: getattr(ended, name) for name in told} == told
    assert "last words" in said_by(bench, run)
    assert bench.lock_is_free()
    if told == {"exit_status": 3}:
        assert ended.error == {"kind": "runtime", "message": "onnxruntime cannot run the model: no such kernel"}


def test_one_of_several_measuring_processes_that_is_killed_is_told_as_killed(bench: Workbench) -> None:
    bench.scripted("os.kill(os.getpid(), signal.SIGKILL)")
    run = bench.order(models=[{"path": "a", "dims": {}}, {"path": "b", "dims": {}}])
    state = bench.ended(run)
    assert (state.state, state.signal) == ("SIGNALED", 9)


def test_a_run_past_its_time_is_stopped(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=30.0, total_s=0.5)
    begun_s = time.monotonic()
    assert bench.ended(run).state == "TIMEOUT"
    assert time.monotonic() - begun_s < 8
    assert bench.processes(run) == []


def test_a_run_that_hangs_and_does_not_listen_is_ended_at_its_limit_and_seven_seconds(bench: Workbench) -> None:
    bench.scripted("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif self.count == 3: time.sleep(60)")
    run = bench.order(min_samples=9, stall_s=0.5)
    begun_s = time.monotonic()
    state = bench.ended(run)
    assert (state.state, state.steps) == ("HUNG", 1)
    assert 5 < time.monotonic() - begun_s < 0.5 + 7 + 3
    assert bench.processes(run) == []
    assert bench.lock_is_free()


DAEMON = """
if self.count == 1:
    told = os.environ["TOLD"]
    if not os.fork():
        os.setsid()
        if not os.fork():
            open(told, "w").write(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    while not os.path.exists(told) or not open(told).read(): time.sleep(0.01)
"""


def test_a_daemon_that_the_runtime_left_is_ended_before_the_board_is_free(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD", str(tmp_path / "daemon"))
    bench.scripted(DAEMON)
    run = bench.order()
    assert bench.ended(run).state == "DONE"
    assert not is_living(int((tmp_path / "daemon").read_text()))
    assert bench.lock_is_free()


def test_twelve_megabytes_on_the_error_stream_block_nothing_and_are_cut(bench: Workbench) -> None:
    bench.scripted("os.write(2, b'e' * (4 << 20))\nos.write(1, b'the end')")
    run = bench.order()
    assert bench.ended(run).state == "DONE"
    log = said_by(bench, run)
    assert len(log) <= 64 * 1024
    assert log.endswith("the end")


@pytest.mark.parametrize("how", ["asked", "signalled"])
def test_a_run_that_is_cancelled_ends_at_once(bench: Workbench, how: str) -> None:
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=30.0)
    bench.begun(run)
    begun_s = time.monotonic()
    if how == "asked":
        bench.ask("cancel", run)
    else:
        os.kill(bench.stated(run)["pid"], signal.SIGTERM)
    answer = bench.ask("state", run, 10)
    assert answer.state is not None
    assert answer.state.state == "CANCELLED"
    assert time.monotonic() - begun_s < 5
    assert bench.processes(run) == []
    assert bench.lock_is_free()


ENDS = ("cancelled", "killed", "late")


@pytest.mark.parametrize("how", ENDS)
def test_what_a_run_tuned_is_put_back_however_it_ends(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    governor = tmp_path / "root/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    governor.parent.mkdir(parents=True)
    governor.write_text("ondemand\n")
    monkeypatch.setenv("EDGEKD_SYSROOT", str(tmp_path / "root"))
    bench.scripted(GOES_ON + ("\nif self.count > 9: os.kill(os.getpid(), 9)" if how == "killed" else ""))
    run = bench.order(tune=True, min_duration_s=30.0, total_s=1.0 if how == "late" else 60.0)
    bench.ask("launch", run)
    if how == "cancelled":
        until(lambda: governor.read_text().strip() == "performance", "the tuning")
        bench.ask("cancel", run)
    answer = bench.ask("state", run, 30)
    assert answer.state is not None
    assert answer.state.state == dict(zip(ENDS, ("CANCELLED", "SIGNALED", "TIMEOUT"), strict=True))[how]
    assert governor.read_text().strip() == "ondemand"
    assert not (bench.folder / "tune.journal").exists()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one workspace", "two workspaces"])
def test_of_two_runs_the_second_is_told_who_has_the_board_and_no_samples_overlap(
    bench: Workbench, tmp_path: Path, elsewhere: bool
) -> None:
    bench.scripted(GOES_ON)
    other = Workbench(tmp_path / "other", bench.python) if elsewhere else bench
    first, second = bench.order(min_duration_s=5.0), other.order(lock_wait_s=0.1)
    bench.begun(first)
    state = other.ended(second)
    assert state.state == "BUSY"
    assert state.holder is not None
    assert (state.holder["run"], state.holder["pid"]) == (first, bench.stated(first)["pid"])
    assert 0 <= state.holder["age_s"] < 30
    third = other.order(lock_wait_s=20.0)
    assert other.ended(third).state == "DONE"
    spans = [json.loads(path.read_text()) for path in (bench.place(first, MANIFEST), other.place(third, MANIFEST))]
    assert spans[0]["ended_ns"] < spans[1]["begun_ns"]
    assert Path(common_path()).read_bytes() == b""


def test_a_lock_file_without_a_holder_is_no_obstacle(bench: Workbench) -> None:
    (bench.folder / "lock").write_text('{"user": "gone", "pid": 1}')
    bench.scripted(GOES_ON)
    assert bench.ended(bench.order()).state == "DONE"


def test_a_supervisor_that_waits_for_the_board_beats_and_can_be_cancelled(bench: Workbench) -> None:
    bench.scripted(GOES_ON)
    first, second = bench.order(min_duration_s=30.0), bench.order(lock_wait_s=60.0)
    bench.begun(first)
    bench.ask("launch", second)
    assert until(lambda: bench.stated(second).get("beat", 0) > 1, "a beat")
    assert bench.stated(second)["state"] == "PREPARED"
    bench.ask("cancel", second, 10)
    assert bench.stated(second)["state"] == "CANCELLED"
    assert bench.stated(first)["state"] == "RUNNING"


FULL = """
import os, subprocess, sys, time
def ask(command, wait_s):
    argv = [sys.argv[2], "agent.pyz", command, sys.argv[1], "0123456789abcdef", str(wait_s)]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
def fill():
    with open("filler", "wb", buffering=0) as stream:
        for size in (65536, 4096, 1):
            try:
                while True: stream.write(bytes(size))
            except OSError: pass
if sys.argv[3] == "before": fill()
said = ask("launch", 0)
if sys.argv[3] == "within":
    fill()
    said = ask("state", 20)
sys.stdout.buffer.write(said)
"""


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_full_disk_is_told_even_though_the_disk_is_full(tmp_path: Path, when: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    bench = Workbench(tmp_path / "bench")
    bench.scripted(GOES_ON)
    run = bench.order(min_duration_s=30.0)
    program = tmp_path / "full.py"
    program.write_text(FULL)
    script = f"mount -t tmpfs -o size=3m tmpfs {disk} && cp -r {bench.folder}/. {disk} && cd {disk} && exec {sys.executable} {program} {run} {bench.python} {when}"
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert '"state": "DISK_FULL"' in done.stdout
    assert '"No space left on device' in done.stdout or "No space left" in done.stdout


V1 = Path("/sys/fs/cgroup/memory")
HUNGRY = "kept = []\nwhile True: kept.append(os.urandom(8 << 20))"


def _memory_group() -> Path | None:
    """A control group of 256 MiB that processes can be put in; None where this user may make none."""
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    root = V1 if V1.is_dir() else v2.parent if v2.exists() and "memory" in v2.read_text() else None
    if root is None:
        return None
    group = root / f"edgekd-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = group / ("memory.limit_in_bytes" if root == V1 else "memory.max")
        limit.write_text(str(256 << 20))
    except OSError:
        return None
    return group


def test_a_process_that_eats_all_memory_is_told_as_out_of_memory(bench: Workbench, tmp_path: Path) -> None:
    group = _memory_group()
    bench.scripted(HUNGRY if group is not None else "os.kill(os.getpid(), signal.SIGKILL)")
    run = bench.order()
    try:
        if group is not None:
            inner = bench.python
            bench.python = str(tmp_path / "confined")
            Path(bench.python).write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {inner} "$@"\n')
            Path(bench.python).chmod(0o755)
        state = bench.ended(run)
        # Where no group can be made, the kernel counts nothing, and a plain signal is all that is known.
        assert (state.state, state.signal) == ("OOM" if group is not None else "SIGNALED", 9)
        assert bench.lock_is_free()
    finally:
        if group is not None:
            until(lambda: not (group / "cgroup.procs").read_text().strip(), "an empty group")
            group.rmdir()


def test_every_end_that_the_supervisor_writes_is_known_to_the_other_side() -> None:
    import ast

    from edgekd.bench.agent import supervise

    source = Path(supervise.__file__).read_text()
    words = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.isupper()
        and len(node.value) > 2
    }
    assert words == {*SAID, *GOING}


def test_the_agent_never_asks_the_calendar() -> None:
    """A board whose clock is years off, or jumps, gives the same times: nothing that is written depends on the date.

    `probe` alone tells it, so that the doctor can say how far off it is.
    """
    import ast

    from edgekd.bench import packed

    for path in set(packed.AGENT.glob("*.py")) - {packed.AGENT / "probe.py"}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                assert node.attr not in {"time", "time_ns", "localtime", "gmtime", "CLOCK_REALTIME"}, path
            assert not (isinstance(node, ast.ImportFrom) and node.module == "datetime"), path
    assert "onnxruntime" not in RUNTIME
