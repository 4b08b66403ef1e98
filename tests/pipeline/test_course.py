"""How one student is tried: really trained, on the recipe's data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.distill.settings import RelationsTerm
from edgekd.pipeline import course as module
from edgekd.pipeline.context import Context
from edgekd.pipeline.course import Course
from edgekd.sizing.price import PricedStudent
from edgekd.student import StudentSpec
from edgekd.trials.meter import Meter
from edgekd.trials.register import Job


def student_of(context: Context, **changes: int) -> PricedStudent:
    from edgekd.pipeline.size import _teacher_spec

    spec: StudentSpec = replace(_teacher_spec(context), **changes)
    return PricedStudent(spec, 1, 1, 1.0, {}, ())


@pytest.fixture
def course(context: Context, tmp_path: Path) -> Course:
    students = {s.name: s for s in (student_of(context, layers=1, ffn=32), student_of(context, layers=2, ffn=64))}
    return Course(context, tmp_path / "trials", students, Meter(tmp_path / "used.json", "one", 600.0))


def always(_points: Any, _losses: Any) -> bool:
    return True


def test_a_job_is_trained_judged_and_taken_further(course: Course) -> None:
    name = next(iter(course.students))
    first = course(Job(name, 8), 4, always)
    assert first is not None
    assert first.ended == "finished"
    assert [point.step for point in first.curve] == [4, 8]
    assert first.losses.shape == (len(course.lesson.validation),)
    assert first.loss == pytest.approx(first.losses.mean(), abs=1e-6)
    seen: list[int] = []
    second = course(Job(name, 16), 4, lambda points, losses: bool(seen.append(points[-1].step)) or True)
    assert second is not None
    assert seen == [12, 16], "it went on from its checkpoint"
    assert second.curve[:2] == first.curve
    assert (second.loss or 9) < (first.loss or 0)


def test_a_trial_is_taught_by_the_teacher_itself_where_the_distillation_is(course: Course) -> None:
    name = next(iter(course.students))
    plain = course(Job(name, 4), 4, always)
    course.settings = replace(course.settings, relations=RelationsTerm(10.0, 4))
    course.folder = course.folder / "other"
    taught = course(Job(name, 4), 4, always)
    assert plain is not None
    assert taught is not None
    assert taught.ended == "finished"
    assert taught.loss != plain.loss


def test_a_job_that_is_told_to_stop_was_pruned(course: Course) -> None:
    found = course(Job(next(iter(course.students)), 16), 4, lambda points, _: points[-1].step < 8)
    assert found is not None
    assert (found.ended, found.curve[-1].step) == ("pruned", 8)
    assert found.losses.shape == (len(course.lesson.validation),)


def test_when_time_is_up_there_is_no_outcome(course: Course) -> None:
    _ = course.lesson
    course.meter.budget_s = course.meter.used_s + 0.05
    assert course(Job(next(iter(course.students)), 100_000), 50_000, always) is None
    assert course.meter.over
    assert course.pace(next(iter(course.students))) is None


def test_a_training_that_diverges_says_so(course: Course) -> None:
    course.settings = replace(course.settings, learning_rate=1e30)
    found = course(Job(next(iter(course.students)), 8), 4, always)
    assert found is not None
    assert (found.ended, found.loss) == ("diverged", None)


def test_the_pace_tells_how_long_a_trial_takes(course: Course) -> None:
    import time

    name = list(course.students)[1]
    _ = course.lesson
    pace = course.pace(name)
    assert pace is not None
    begun = time.monotonic()
    course(Job(name, 60), 20, always)
    taken = time.monotonic() - begun
    expected = pace.start_s + 60 * pace.step_s + 3 * pace.evaluation_s
    assert 0.25 * taken < expected < 4 * taken
    assert not (course.folder / "pace").exists()


def test_of_a_large_validation_part_an_even_part_is_compared(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [int(label) for label in course.context.splits.validation.labels]
    monkeypatch.setattr(module, "MOST_EXAMPLES", 50)
    found = np.asarray(course.lesson.validation.with_format("numpy")["labels"][:]).tolist()
    assert found == [whole[index * len(whole) // 50] for index in range(50)]


def test_the_longest_trial_is_the_whole_distillation(course: Course) -> None:
    recipe = course.context.recipe
    steps = -(-len(course.lesson.train) // recipe.distill.batch_size)
    assert course.most_steps == recipe.distill.epochs * steps
