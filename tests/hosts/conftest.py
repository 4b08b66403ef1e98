"""What the tests of several ways to a board share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the servers that several tests share

STAND_IN = Path(__file__).with_name("stand_in_adb.py")


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program adb on PATH that reaches one phone, PHONE1, which is this machine; the folder of its state."""
    state, programs = tmp_path / "adb-state", tmp_path / "programs"
    state.mkdir()
    programs.mkdir()
    program = programs / "adb"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{STAND_IN}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_ADB", str(state))
    return state
