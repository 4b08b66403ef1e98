"""Processes by number, start time, session and lock, tried on real ones."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd.bench.agent import processes

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def _sleeper(
    code: str = "print(1, flush=True); import time; time.sleep(60)", **options: object
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_process_is_alive_only_with_its_own_start_time() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    assert processes.is_alive(os.getpid(), started)
    assert processes.is_alive(os.getpid(), None)
    assert not processes.is_alive(os.getpid(), started + 1)
    assert not processes.is_alive(2**30, None)


def test_a_name_that_looks_like_fields_does_not_confuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "7" / "task" / "7"
    place.mkdir(parents=True)
    (place / "stat").write_text("7 (a) Z 1 (b) S 1 7 7 " + " ".join(map(str, range(40))))
    monkeypatch.setattr(processes, "PROC", str(tmp_path))
    fields = processes.stat_of(7)
    assert fields is not None
    assert fields[:4] == ["S", "1", "7", "7"]
    assert processes.start_time(7) == 15


def test_members_of_a_session_are_found_without_this_process() -> None:
    with _sleeper(start_new_session=True) as process:
        assert processes.members(process.pid) == [process.pid]
        assert os.getpid() not in processes.members(os.getsid(0))
        process.kill()


def test_a_lock_is_seen_with_whoever_inherited_it_and_not_with_whoever_opened_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab") as stream, path.open("ab") as other:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with _sleeper(pass_fds=(stream.fileno(),)) as heir, _sleeper(pass_fds=(other.fileno(),)) as stranger:
            assert processes.holds_lock(heir.pid, str(path))
            assert not processes.holds_lock(stranger.pid, str(path))
            assert processes.belongs(heir.pid, "any", str(path))
            assert not processes.belongs(stranger.pid, "any", str(path))
            heir.kill()
            stranger.kill()


def test_a_process_that_was_told_its_run_belongs_to_it_and_to_no_other(tmp_path: Path) -> None:
    with _sleeper(env={**os.environ, processes.MARK: "run1"}) as process:
        assert processes.belongs(process.pid, "run1", str(tmp_path / "none"))
        assert not processes.belongs(process.pid, "run", str(tmp_path / "none"))
        process.kill()


def test_who_does_not_listen_is_ended_after_a_while() -> None:
    with _sleeper(DEAF) as process:
        begun_s = time.monotonic()
        alive = lambda: [process.pid] if process.poll() is None else []  # noqa: E731
        assert processes.end(alive, patience_s=0.3) == []
        assert 0.3 <= time.monotonic() - begun_s < 5
    assert process.returncode == -9


def test_who_cannot_be_ended_is_told() -> None:
    assert processes.end(lambda: [2**30], patience_s=0.0) == [2**30]
