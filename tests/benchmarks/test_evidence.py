"""What stands under every result."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import evidence  # noqa: E402


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (str(BENCHMARKS / "runner" / "upload.py"), "benchmarks/runner/upload.py"),
        (str(Path("/somewhere/else")), "FOLDER"),
        ("runs/retention", "runs/retention"),
        ("--write", "--write"),
    ],
)
def test_no_folder_of_this_machine_stands_in_a_command(word: str, told: str) -> None:
    assert evidence._portable(word) == told
