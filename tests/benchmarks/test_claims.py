"""The students that the claims are about, and how a saving is put in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekd.cost.limits import check_within
from edgekd.student import StudentSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from claims import CUTS, _saved_text, cut
from retention import capacity

BERT = StudentSpec(
    architecture="bert", layers=6, hidden=384, heads=12, ffn=1536, vocabulary=30522, positions=512, token_types=2,
    labels=77,
)  # fmt: skip
LLAMA = StudentSpec(
    architecture="llama", layers=5, hidden=64, heads=8, kv_heads=8, ffn=172, vocabulary=512, positions=512, labels=2
)


@pytest.mark.parametrize("teacher", [BERT, LLAMA], ids=["bert", "llama"])
@pytest.mark.parametrize("name", CUTS)
def test_every_cut_is_a_smaller_student_of_its_teacher(teacher: StudentSpec, name: str) -> None:
    student = CUTS[name].of(teacher)
    check_within(student, teacher)
    assert capacity(student) < 0.6 * capacity(teacher)
    assert student.head_dim == teacher.head_dim


def test_the_cuts_are_what_they_are_called() -> None:
    assert [how.of(BERT).name for how in CUTS.values()] == ["L3-H384-A12-F1536", "L6-H192-A6-F768", "L4-H256-A8-F1088"]
    assert cut(BERT) == BERT


def test_a_saving_is_told_with_its_range_and_the_speed_up() -> None:
    assert _saved_text({"ratio": 0.5, "low": 0.4, "high": 0.55}) == "50% (45% to 60%), x 2.00"
