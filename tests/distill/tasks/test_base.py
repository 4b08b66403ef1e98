from pathlib import Path

import numpy as np
import pytest
from tiny_digits import digit_images, tiny_vit

from edgekd.distill.tasks import task_of
from edgekd.distill.tasks.base import Answers, Task
from edgekd.task import TASK_NAMES, TaskName


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_that_a_recipe_may_name_is_there_under_its_name(name: TaskName) -> None:
    task = task_of(name)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.teacher_columns


def test_answers_know_their_loss_and_how_sure_they_were_in_vain() -> None:
    found = Answers(np.array([1.0, 3.0]), np.array([0, 1]), np.array([0, 0]), np.array([0.9, 0.9]))
    assert found.loss == 2
    assert found.right.tolist() == [True, False]
    assert found.calibration.error == pytest.approx(0.4)


def test_the_score_is_the_share_that_is_right_unless_a_task_says_otherwise() -> None:
    found = Answers(np.zeros(4), np.array([0, 1, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4))
    assert Task.score(task_of("text-classification"), found) == 0.75


def test_the_teacher_is_asked_into_the_columns_of_the_task(tmp_path: Path) -> None:
    task, data = task_of("image-classification"), digit_images(0, 12)
    taught = task.cached(tiny_vit(), data, tmp_path, key="k", batch_size=5, pad_token_id=None, on_rows=None)
    assert set(task.teacher_columns) <= set(taught.column_names)
    assert task.class_counts(taught, 10).tolist() == np.bincount(data["labels"], minlength=10).tolist()
