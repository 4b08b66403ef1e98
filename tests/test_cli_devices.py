"""`edgekd devices` as users call it: what it prints, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from staged_boards import stage, tool
from test_light_import import run_blocked

from edgekd.cli_devices import DEVICE_VERBS

VERBS = ("list", "show", "probe", "doctor", "provision")


def _edgekd(tmp_path: Path, *argv: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "edgekd", "devices", *map(str, argv)]
    around = {**os.environ, "HOME": str(tmp_path / "home"), "COLUMNS": "200", **env}
    return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False, env=around)


def test_every_verb_is_there_and_has_a_line_of_help(tmp_path: Path) -> None:
    assert tuple(DEVICE_VERBS) == VERBS
    done = _edgekd(tmp_path, "--help")
    assert done.returncode == 0
    assert all(f"\n  {verb} " in done.stdout for verb in (*VERBS, "trust", "calibrate"))


@pytest.mark.parametrize("verb", ["probe", "doctor"])
def test_a_board_is_asked_without_heavy_libraries_here(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_blocked("devices", verb, "local", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout


def test_doctor_ends_0_or_4_and_says_what_to_do(tmp_path: Path) -> None:
    done = _edgekd(tmp_path, "doctor", "local")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "it can measure"
    stage(tmp_path, {"modules/onnxruntime/__init__.py": "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"})
    tool(tmp_path / "bin", "python", f'PYTHONPATH={tmp_path}/modules exec {sys.executable} "$@"')
    done = _edgekd(tmp_path, "doctor", "local", "--python", tmp_path / "bin" / "python")
    assert done.returncode == 4
    assert "missing  onnxruntime: onnxruntime is killed by SIGILL" in done.stdout
    done = _edgekd(tmp_path, "doctor", "local", "--python", "no-such-python")
    assert done.returncode == 4
    assert "missing  python: has no no-such-python" in done.stdout


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("probe", "local", "--device", "raspbery-pi-5"), 2, "Did you mean"),
        (("probe", "local", "--python", "no-such-python"), 4, "has no no-such-python"),
        (("doctor", "ftp://x"), 2, "expected 'local' or ssh://"),
        (("provision", "local", "--wheels", "none"), 2, "is no folder"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    tmp_path: Path, argv: tuple[str, ...], code: int, said: str
) -> None:
    done = _edgekd(tmp_path, *argv)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
