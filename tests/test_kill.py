"""Kills at any moment: the same command goes on and ends with the same weights as a run that nobody disturbed."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from edgekd.files import read_json, sha256_of_file
from edgekd.record import AccuracyRecord, read_record

RECIPE = """
name: killed
task: image-classification
teacher:
  architecture: {type: vit, layers: 2, hidden: 32, heads: 2, ffn: 64, patch_size: 4}
  fine_tune: {epochs: 5, learning_rate: 5.0e-3, batch_size: 64, patience: 5}
data: {source: "sklearn:digits", max_train_examples: 600}
space: {layers: [1], hidden: [16, 32], ffn_ratio: [1.0, 2.0]}
device: generic-x86-64
# Far above what any of these students takes, so that no measured time can change the choice.
sla: {latency: {p50: 500 ms}, memory: 4 GB, size: 40 MB}
search: {calibrate: 3, finalists: 1, pairs: 5}
budget: {attempts: 1}
distill: {epochs: 4, learning_rate: 5.0e-3, batch_size: 64, patience: 4}
bench: {processes: 3, warmup: 50 ms, duration: 100 ms, samples: 20}
"""
# Where each kill falls: most in the steps that train, none left out.
KILLED_IN = ("teacher", "teacher", "teacher", "size", "size", "distill", "distill", "export", "bench", "gate")
SEED = 20
PATIENCE_S = 120.0
SAME = ("teacher/model.safetensors", "students.json", "student/model.safetensors", "artifacts/student-int8.onnx")


@dataclass
class Program:
    """`edgekd run` in a session of its own, and the lines of its error stream as they come."""

    folder: Path
    lines: list[str] = field(default_factory=list)
    times_s: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._begun_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgekd", "run", "killed.yaml", "--out", "run"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def ended(self) -> Iterator[str]:
        """The steps as they end, until the program does."""
        while (line := self._queue.get(timeout=PATIENCE_S)) is not None:
            self.lines.append(line)
            if line.startswith("✓"):
                step = line.split()[1]
                assert step not in self.times_s, "a step ran twice: its time would be that of both"
                self.times_s[step] = time.monotonic() - self._begun_s
                yield step

    def signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        for _ in self.ended():
            pass
        return self._process.wait(timeout=PATIENCE_S)


STEPS = ("teacher", "size", "distill", "export", "bench", "gate", "report")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A run that nobody killed, with the time at which each step ended."""
    program = Program(_folder(tmp_path_factory.mktemp("undisturbed")))
    with program:
        assert program.wait() == 0, program.lines
    assert list(program.times_s) == list(STEPS)
    return program


def _folder(folder: Path) -> Path:
    (folder / "killed.yaml").write_text(RECIPE)
    return folder


def _durations_s(program: Program) -> dict[str, float]:
    """Seconds that each step took; those of the first include the start of the program."""
    ends = [0.0, *program.times_s.values()]
    return {step: end - begin for step, begin, end in zip(program.times_s, ends, ends[1:], strict=False)}


def _kill_in(folder: Path, step: str, delay_s: float) -> bool:
    """Kill the run `delay_s` after `step` began; False when it had ended before."""
    before = STEPS[: STEPS.index(step)]
    with Program(folder) as program:
        if before:
            for ended in program.ended():
                if ended == before[-1]:
                    break
        time.sleep(delay_s)
        alive = program._process.poll() is None
        program.signal(signal.SIGKILL)
        assert program._process.wait(timeout=PATIENCE_S) in (-signal.SIGKILL, 0)
    return alive


def _accuracies(run: Path) -> dict[str, list[int]]:
    found = {}
    for path in (run / "records").glob("accuracy-*.json"):
        record = read_record(path)
        assert isinstance(record, AccuracyRecord)
        found[path.name] = record.predictions
    return found


def _assert_same_end(run: Path, reference: Path) -> None:
    for name in SAME:
        assert sha256_of_file(run / name) == sha256_of_file(reference / name), name
    tables = [read_json(folder / "student.json") for folder in (run, reference)]
    for table in tables:
        table.pop("seconds", None)  # the clock of a killed run counts the time that was lost too
    assert tables[0] == tables[1]
    assert _accuracies(run) == _accuracies(reference)
    assert len(_accuracies(run)) == 3
    assert read_json(run / "verdict.json")["outcome"] == "pass"
    assert list(run.rglob("*.part")) == []
    assert [path.name for path in (run / "work").iterdir() if path.is_dir()] == []


def test_a_run_killed_ten_times_ends_as_one_that_nobody_killed(undisturbed: Program, tmp_path: Path) -> None:
    rng, durations_s = random.Random(SEED), _durations_s(undisturbed)
    folder = _folder(tmp_path)
    killed = [_kill_in(folder, step, rng.uniform(0.1, 0.6) * durations_s[step]) for step in KILLED_IN]
    assert sum(killed) >= 6, "the kills came too late to be any"
    with Program(folder) as program:
        assert program.wait() == 0, program.lines
    _assert_same_end(tmp_path / "run", undisturbed.folder / "run")


def test_an_interrupted_run_says_so_in_one_line_and_goes_on(undisturbed: Program, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    with Program(folder) as program:
        for _ in program.ended():
            break
        time.sleep(0.3)
        program.signal(signal.SIGINT)
        assert program.wait() == 130, program.lines
    said = [line for line in program.lines if not line.startswith("✓")]
    assert said == ["edgekd: interrupted; the same command goes on where this one stopped"]
    with Program(folder) as again:
        assert again.wait() == 0, again.lines
    assert "(unchanged)" in next(line for line in again.lines if line.startswith("✓ teacher"))
    _assert_same_end(tmp_path / "run", undisturbed.folder / "run")


def test_a_disturbed_weight_is_seen(undisturbed: Program, tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(undisturbed.folder / "run", tmp_path / "run"))
    _assert_same_end(run, undisturbed.folder / "run")
    weights = run / "student" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(AssertionError, match="student/model"):
        _assert_same_end(run, undisturbed.folder / "run")
