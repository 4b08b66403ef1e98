"""The benchmark of stored hidden states: its cases, its arithmetic, and one pair of turns for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from cached_hidden import BATCH, CASES, LONGEST, Case, measured, ratios_of, settings_of, spec_of, texts


def test_every_case_is_a_student_of_its_teacher() -> None:
    for case in CASES:
        teacher, student = spec_of(case.teacher), spec_of(case.student)
        assert student.layers < teacher.layers
        assert student.hidden <= teacher.hidden
        assert (settings_of(case).relations is not None) == case.relations
        heads = 12 if case.relations else 1
        assert teacher.hidden % heads == student.hidden % heads == 0


def test_texts_are_of_many_lengths_and_the_same_for_a_seed() -> None:
    rows = texts(200, 0)
    lengths = [len(row) for row in rows["input_ids"]]
    assert (min(lengths), max(lengths)) == (8, LONGEST)
    assert texts(200, 0).to_dict() == rows.to_dict()


def test_ratios_are_those_of_neighbours() -> None:
    assert ratios_of([(2.0, 1.0), (3.0, 1.0), (8.0, 2.0)]) == (3.0, 2.0, 4.0)


def test_a_pair_of_turns_is_measured(tmp_path: Path) -> None:
    row, numbers = measured(Case("tiny", (2, 24, 12), (1, 12, 12), relations=True), 1, 5, tmp_path)
    assert row[0] == "tiny"
    found = numbers["tiny"]
    assert found["rows"] == 5 * BATCH
    ((beside, stored),) = found["turns_s"]
    assert row[1:3] == [f"{1 / beside:.2f}", f"{1 / stored:.2f}"]
    assert float(row[3].split()[0]) == pytest.approx(beside / stored, abs=0.01)
    assert found["bytes"] > found["rows"] * 8 * 24 * 2 * (1 + 3)
