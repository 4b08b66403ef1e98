"""A workspace with the real agent in it, and runtimes that do what a test wants: real processes, scripted inferences."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.bench.journal import new_run
from edgekd.bench.packed import packed_agent
from edgekd.bench.plan import BenchPlan
from edgekd.bench.states import SAID, Answer, Stated, answer_from_output

RUNTIME = """
import os, signal, subprocess, sys, time
__version__ = "0"
class ExecutionMode: ORT_SEQUENTIAL = 0
class SessionOptions: pass
class InferenceSession:
    def __init__(self, *_, **__): self.count = 0
    def get_inputs(self): return []
    def run(self, *_):
        self.count += 1
"""
QUICK = BenchPlan(warmup_s=0.0, min_duration_s=0.0, min_samples=3, dims={})
NONCE = "0123456789abcdef"
PATIENCE_S = 60.0  # for machines with much else to do
MEASURING = 2  # processes of a supervisor: the one that measures, and the one that watches the board meanwhile


def scripted_python(folder: Path, code: str) -> str:
    """A Python whose onnxruntime does `code` in each inference, whose number is self.count."""
    capi = folder / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    lines = [f"        {line}" for line in code.splitlines()]
    (folder / "onnxruntime" / "__init__.py").write_text(RUNTIME + "\n".join(lines) + "\n")
    for name in ("__init__.py", "onnxruntime_pybind11_state.py"):
        (capi / name).write_text("")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def until(true: Callable[[], Any], what: str) -> Any:
    """What `true` gives as soon as that is something. Fails after a while."""
    late = time.monotonic() + PATIENCE_S
    while time.monotonic() < late:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_S:g} s")


def is_living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class Workbench:
    """The workspace `folder`, with an agent of its own; `close` ends what is left of every run."""

    folder: Path
    python: str = sys.executable
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "agent.pyz").write_bytes(packed_agent())

    def scripted(self, code: str) -> None:
        """From now on each inference does `code`."""
        self.python = scripted_python(self.folder.parent / f"runtime-{len(self.runs)}", code)

    def order(self, model: Path | str = "none.onnx", *, run: str | None = None, **changed: Any) -> str:
        """A run that is ordered and not yet begun."""
        run = run or new_run()
        self.runs.append(run)
        orders = {**QUICK.spec(), "format": 1, "mode": "plain", "input_data": None, "lock_wait_s": 0.3, **changed}
        self.place(run).mkdir(parents=True, exist_ok=True)
        spec = {"models": [{"path": str(model), "dims": orders["dims"]}], **orders}
        self.place(run, "spec.json").write_text(json.dumps(spec))
        return run

    def place(self, run: str, name: str = "") -> Path:
        return self.folder / "runs" / run / name

    def argv(self, command: str, run: str, wait_s: float = 0.0) -> list[str]:
        return [self.python, "agent.pyz", command, run, NONCE, str(wait_s)]

    def ask(self, command: str, run: str, wait_s: float = 0.0) -> Answer:
        argv = self.argv(command, run, wait_s)
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=60, check=True)
        return answer_from_output(done.stdout, nonce=NONCE, run=run, where="here")

    def ended(self, run: str) -> Stated:
        """Begin `run`, wait for its end, and give the state it ended in."""
        answer = self.ask("launch", run, 30)
        assert answer.state is not None
        assert answer.state.state in SAID, answer
        return answer.state

    def begun(self, run: str, steps: int = 0) -> Answer:
        """Begin `run`, up to its first inferences."""
        self.ask("launch", run)
        if steps:
            until(lambda: (self.stated(run).get("steps") or 0) >= steps, f"inference {steps}")
        else:
            until(lambda: self.stated(run).get("state") == "RUNNING" and self.children(run), "the run")
        return self.ask("state", run)

    def stated(self, run: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self.place(run, "state.json").read_text()))
        except FileNotFoundError:
            return {}

    def lock_is_free(self) -> bool:
        with (self.folder / "lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def processes(self, run: str) -> list[int]:
        """Living processes of the run's session."""
        session = self.stated(run).get("session")
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX" and int(fields[3]) == session:
                found.append(int(stat.parent.name))
        return found

    def children(self, run: str) -> list[int]:
        return [pid for pid in self.processes(run) if pid != self.stated(run)["pid"]]

    def close(self) -> None:
        for run in self.runs:
            if self.place(run, "state.json").exists():
                self.ask("reap", run)


def result_of(bench: Workbench, run: str) -> dict[str, Any]:
    return dict(json.loads(bench.place(run, "result.json").read_text()))


def said_by(bench: Workbench, run: str) -> str:
    path = bench.place(run, "agent.log")
    return path.read_text() if path.exists() else ""


def kill(pid: int) -> None:
    """End `pid` at once, and see it gone."""
    os.kill(pid, 9)
    until(lambda: not is_living(pid), "its death")
