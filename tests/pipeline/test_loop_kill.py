"""Kills at the seams of the loop: the same command ends with the same attempts, and trains nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from arithmetic_board import LOOP, attempts_of

from edgekd.files import read_json, sha256_of_file

PROGRAM = Path(__file__).with_name("arithmetic_board.py")
PATIENCE_S = 120.0
WEIGHTS = "student/model.safetensors"
STASH, WRITING = "edgekd.pipeline.stash", "edgekd.sizing.writing"
# What each kill leaves half done. Calls are counted anew in every run.
SEAMS = (
    f"{STASH}:_link:1",  # the files of the first attempt are gathered, not kept
    f"{STASH}:keep:1",  # kept, and attempts.json does not know it
    "edgekd.pipeline.attempts:write_attempts:1",  # the first attempt is entered
    f"{WRITING}:write_sizing:1",  # sizing.json of the second, students.json of the first
    f"{WRITING}:write_students:1",  # both of the second, the ledger knows neither
    "edgekd.pipeline.distill:publish:1",  # the second student stands there, its student.json does not
    f"{STASH}:keep:1",
)


def run_killed(root: Path, slower: str, seam: str, *extra: str) -> int:
    return subprocess.run(
        [sys.executable, str(PROGRAM), str(root), slower, seam, *LOOP, *extra], cwd=root.parent, check=False,
        stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=PATIENCE_S,
    ).returncode  # fmt: skip


def weights(root: Path) -> dict[str, int]:
    """The kept weights, by when they were written."""
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.glob(f"attempts/*/{WEIGHTS}")}


def assert_same_end(root: Path, reference: Path) -> None:
    ends = [
        [(each.number, each.name, each.outcome, each.validation_accuracy) for each in attempts_of(folder).attempts]
        for folder in (root, reference)
    ]
    assert ends[0] == ends[1]
    names = [WEIGHTS, "students.json", "artifacts/student-int8.onnx", *weights(reference)]
    for name in names:
        assert sha256_of_file(root / name) == sha256_of_file(reference / name), name
    assert read_json(root / "verdict.json") == read_json(reference / "verdict.json")
    assert [path.name for path in (root / "work").iterdir() if path.is_dir()] == []
    assert list(root.rglob("*.part")) == []


def test_a_loop_killed_at_every_seam_ends_as_one_that_nobody_killed(tmp_path: Path) -> None:
    root, reference, trained = tmp_path / "run", tmp_path / "reference", dict[str, int]()
    assert run_killed(reference, "1.3", "-") == 0
    assert len(attempts_of(reference).attempts) == 2
    for seam in SEAMS:
        assert run_killed(root, "1.3", seam) == -signal.SIGKILL, seam
        assert {name: time_ns for name, time_ns in weights(root).items() if name in trained} == trained, seam
        trained = weights(root)
    assert len(trained) == 2
    assert run_killed(root, "1.3", "-") == 0
    assert weights(root) == trained
    assert_same_end(root, reference)
