"""Disks that are full or read-only, as real file systems in a mount namespace: one line, and nothing claimed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipe import TINY

Mounted = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("run", "quickstart", *(word for override in TINY for word in ("--set", override)), "--out", "disk/run")


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Run the program with a file system of its own at `disk`, made with mount's `options`."""
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("mounting in a namespace of its own is not allowed here (unshare -m needs root)")
    (tmp_path / "disk").mkdir()

    def call(options: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        script = (
            f'mount -t tmpfs -o {options} none disk && {{ "$@"; code=$?; find disk -name "*.part";'
            " cat disk/run/ledger.json 2>/dev/null; exit $code; }"
        )
        words = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m", "edgekd", *map(str, argv)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=200, env=env, check=False)

    return call


def _refused(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("edgekd: disk")
    assert ended.stderr.count("\n") == 1
    assert "no permission to write there" in ended.stderr
    assert ended.stdout == ""


def test_a_read_only_run_folder_is_refused_at_once(mounted: Mounted) -> None:
    _refused(mounted("ro", *RUN))


def test_a_verdict_that_cannot_be_written_is_not_given(mounted: Mounted, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "sla.yaml").write_text("size: 4 MB\n")
    _refused(mounted("ro", "gate", whole / "records", "--sla", "sla.yaml", "--out", "disk/verdict.json"))


def test_a_record_has_its_place_before_minutes_are_measured(mounted: Mounted, whole: Path) -> None:
    model = whole / "artifacts" / "student-fp32.onnx"
    _refused(mounted("ro", "bench", model, "--out", "disk/r.json", "--duration", "600 s"))


@pytest.mark.parametrize("size", ["200k", "1m"])
def test_a_full_disk_is_one_line_and_claims_nothing_unfinished(mounted: Mounted, size: str) -> None:
    ended = mounted(f"size={size}", *RUN)
    assert ended.returncode == 4, ended.stderr
    *steps, last = ended.stderr.splitlines()
    assert all(line.startswith("✓ ") for line in steps)
    assert last.startswith("edgekd: disk/run/")
    assert "the disk is full" in last or "cannot be written" in last
    assert ".part" not in ended.stdout
    claimed = json.loads(ended.stdout)["steps"] if ended.stdout else {}
    assert set(claimed) <= {line.split()[1] for line in steps}
