"""What students are taught with: one pass of the teacher, whoever learns."""

from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import TINY, snapshot

from edgekd.distill.evaluate import predict_logits
from edgekd.pipeline.begin import start_of
from edgekd.pipeline.context import Context
from edgekd.pipeline.distill import chosen_student
from edgekd.pipeline.lesson import lesson
from edgekd.recipe import load_recipe


def test_the_teachers_answers_are_read_where_they_were_kept(root: Path, context: Context) -> None:
    before = snapshot(root / "cache")
    found = lesson(context, None)
    assert snapshot(root / "cache") == before
    assert found.pad is None
    answers = predict_logits(found.teacher, found.train, 64)
    assert np.asarray(found.train.with_format("numpy")["teacher_logits"][:]) == pytest.approx(answers, abs=1e-4)
    assert len(found.validation) == len(context.splits.validation)


def test_a_student_starts_from_the_teacher_and_the_seed(root: Path) -> None:
    context = Context(load_recipe("quickstart", TINY), root, Path.cwd())
    found = lesson(context, None)
    spec = chosen_student(context)
    by = start_of(context, found, spec)
    (one, start), (other, _) = (found.student(spec, 17, by) for _ in range(2))
    assert start.copied_parameters > 0
    assert predict_logits(one, found.validation, 64) == pytest.approx(predict_logits(other, found.validation, 64))
