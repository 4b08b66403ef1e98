"""The agent's words: framed answers, and refusals that say what was wrong."""

from __future__ import annotations

import subprocess
from hashlib import sha256

import pytest
from workbench import NONCE, Workbench

from edgekd.bench.agent.commands import COMMANDS, framed


def test_a_frame_says_whose_how_long_and_which() -> None:
    line, data = framed("n", {"a": "ü"}).strip().split(b"\n")
    assert line == f"EDGEKD1 n {len(data)} {sha256(data).hexdigest()}".encode()
    assert data.isascii()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_no_runs_is_refused_before_anything_is_done(bench: Workbench, command: str) -> None:
    for run in ("../../etc", "x", ""):
        done = subprocess.run(bench.argv(command, run), cwd=bench.folder, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert "names no run" in done.stderr
        assert NONCE not in done.stdout
    assert [path.name for path in bench.folder.iterdir()] == ["agent.pyz"]
