"""Kills and interruptions of `edgekd bench`: the board goes on, and the same command takes what it measured."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgekd.files import read_json
from edgekd.record import LatencyRecord, read_record

PATIENCE_S = 60.0
ON_PIPES = "from edgekd.cli import main; main()"
ON_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {ON_PIPES}"


def _until(true: Callable[[], Any], what: str) -> Any:
    late = time.monotonic() + PATIENCE_S
    while time.monotonic() < late:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_S:g} s")


def _bench(folder: Path, terminal: int | None = None) -> subprocess.Popen[str]:
    """`edgekd bench` of a tiny model, two processes of 1.5 s; with pipes, or on a terminal of its own."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    ])  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), folder / "m.onnx")
    argv = ["bench", "m.onnx", "--out", "out", "--processes", "2", "--duration", "1.5 s", "--warmup", "10 ms"]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal) if terminal else {}
    return subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL if terminal else ON_PIPES, *argv], cwd=folder, text=True,
        env={**os.environ, "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}, start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )  # fmt: skip


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [dict(read_json(path)) for path in (folder / "out" / ".m.runs").glob("*.json")]


def _going(folder: Path) -> dict[str, Any] | None:
    """The state of the run that measures now."""
    for path in (folder / "home" / ".edgekd" / "runs").glob("*/state.json"):
        try:
            state = dict(json.loads(path.read_text()))
        except FileNotFoundError:
            continue
        if state["state"] == "RUNNING":
            return state
    return None


def _is_clean(folder: Path) -> bool:
    home = folder / "home" / ".edgekd"
    return not list((home / "runs").iterdir()) and not (home / "lock").read_bytes()


def test_a_bench_that_is_killed_takes_up_its_runs_and_their_samples(tmp_path: Path) -> None:
    with _bench(tmp_path) as first:
        _until(lambda: len(_entries(tmp_path)) == 2 and _going(tmp_path), "the second process")
        first.kill()
    going = _going(tmp_path)
    kept = next(entry for entry in _entries(tmp_path) if "sha256" in entry)
    (result,) = (tmp_path / "out" / ".m.runs").glob("*.result")
    before = json.loads(result.read_text())["runs"][0]["run"]["samples_ns"]
    assert going is not None
    assert {entry["run"] for entry in _entries(tmp_path)} == {kept["run"], going["run"]}
    begun_s = time.monotonic()
    with _bench(tmp_path) as second:
        said, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, errors
    assert "record out/m.json" in said
    record = read_record(tmp_path / "out" / "m.json")
    assert isinstance(record, LatencyRecord)
    assert record.runs[0].samples_ns == before
    assert len(record.runs) == 2
    assert time.monotonic() - begun_s < PATIENCE_S
    assert not (tmp_path / "out" / ".m.runs").exists()
    assert _is_clean(tmp_path)


def test_a_bench_that_is_interrupted_cancels_its_run_and_goes_on_later(tmp_path: Path) -> None:
    with _bench(tmp_path) as first:
        _until(lambda: _going(tmp_path), "the first process")
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert "the run on the board was cancelled; the same command goes on where this one stopped" in errors
    assert _is_clean(tmp_path)
    assert _entries(tmp_path) == []


def test_ctrl_c_at_a_terminal_cancels_the_run(tmp_path: Path) -> None:
    """The key reaches every process that the terminal has, and still the agent is told by us alone."""
    keys, terminal = pty.openpty()
    said = bytearray()
    with _bench(tmp_path, terminal) as bench:
        os.close(terminal)
        with os.fdopen(keys, "r+b", buffering=0) as screen:
            _until(lambda: _read_now(screen, said) or _going(tmp_path), "the first process")
            screen.write(b"\x03")
            _until(lambda: _read_now(screen, said) or bench.poll() is not None, "the end")
            _read_now(screen, said)
    assert bench.returncode == 130
    assert b"the run on the board was cancelled" in said
    assert b"Traceback" not in said
    assert _is_clean(tmp_path)


def _read_now(screen: FileIO, said: bytearray) -> None:
    """Take what stands on the terminal now; a terminal that nobody has any more is an error of the system."""
    while select.select([screen], [], [], 0)[0]:
        with suppress(OSError):
            said += screen.read(65536) or b""
            continue
        return


def test_a_bench_that_is_interrupted_twice_leaves_its_run_and_says_so(tmp_path: Path) -> None:
    with _bench(tmp_path) as first:
        going = _until(lambda: _going(tmp_path), "the first process")
        first.send_signal(signal.SIGINT)
        time.sleep(0.3)  # as a person would: two signals at once are one
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert f"run {going['run']} goes on there. The same command finds it again" in errors
    with _bench(tmp_path) as second:
        _, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, errors
    assert _is_clean(tmp_path)
