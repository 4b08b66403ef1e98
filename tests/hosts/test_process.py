from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd.hosts.output import Tail
from edgekd.hosts.process import run_process


def test_status_and_streams_are_given_and_a_signal_is_negative(tmp_path: Path) -> None:
    out, err = Tail(100), Tail(100)
    status = run_process(["sh", "-c", "pwd; echo e >&2; exit 3"], out=out, err=err, timeout_s=20, folder=tmp_path)
    assert (status, out.text(), err.text()) == (3, f"{tmp_path}\n", "e\n")
    assert run_process(["sh", "-c", "kill -9 $$"], out=out, err=err, timeout_s=20) == -9


def test_program_that_is_absent_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        run_process(["edgekd-no-such-program"], out=Tail(1), err=Tail(1), timeout_s=5)


def test_time_is_up_for_children_too(tmp_path: Path) -> None:
    pids, start = Tail(100), time.monotonic()
    with pytest.raises(TimeoutError):
        run_process(["sh", "-c", "sleep 60 & echo $!; sleep 60"], out=pids, err=Tail(1), timeout_s=0.5)
    assert time.monotonic() - start < 5
    stat = Path(f"/proc/{pids.text().strip()}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_program_that_a_thread_waits_for_is_ended_with_this_one(tmp_path: Path) -> None:
    code = f"""
import threading, time
from pathlib import Path
from edgekd.hosts.output import Tail
from edgekd.hosts.process import run_process
place = Path({str(tmp_path / "pid")!r})
argv = ["sh", "-c", f"echo $$ > {{place}}.new; mv {{place}}.new {{place}}; sleep 60"]
threading.Thread(target=run_process, args=(argv,), kwargs=dict(out=Tail(1), err=Tail(1), timeout_s=60), daemon=True).start()
while not place.exists():
    time.sleep(0.01)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, cwd=Path(__file__).parents[2])
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
