"""The arithmetic of the benchmarks of dropped layers and of heads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from dropping import STUDENTS, UNTIL, paired
from heads import HEADS, METHODS

from edgekd.recipe import load_recipe
from edgekd.students.initialise import methods_for


def test_paired_differences_have_the_interval_of_student() -> None:
    middle, half = paired([1.0, 2.0, 3.0])
    assert middle == 2.0
    assert half == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert paired([0.5, 0.5]) == (0.5, 0.0)


def test_every_student_can_be_cut_from_the_teacher_of_the_recipe() -> None:
    recipe = load_recipe(str(Path(__file__).parents[2] / "benchmarks" / "distillation" / "digits.yaml"))
    teacher = recipe.teacher.architecture
    assert teacher is not None
    for student in STUDENTS:
        assert student.layers < teacher.layers
        assert teacher.heads * student.hidden % teacher.hidden == 0
        assert student.method in methods_for(teacher.type)
    assert UNTIL[0] is None
    assert set(METHODS) <= set(methods_for(teacher.type))
    assert all(heads < teacher.heads for heads in HEADS)
