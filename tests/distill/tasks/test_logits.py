"""What all tasks with logits have in common, of real models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tasks_data import model, several, tagged

from edgekd.distill.evaluate import log_probabilities
from edgekd.distill.tasks import Asked, task_of
from edgekd.distill.tasks.logits import LogitsTask, check_classes
from edgekd.errors import DataError
from edgekd.task import TaskName


def single() -> Any:
    return tagged().remove_columns("labels").add_column("labels", [row % 3 for row in range(12)])


CASES: dict[TaskName, tuple[str, Any]] = {
    "text-classification": ("sequence", single), "multi-label-classification": ("sequence", several),
    "token-classification": ("tokens", tagged),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", list(CASES))


def case(name: TaskName) -> tuple[LogitsTask, Any, Any]:
    task, (head, data) = task_of(name), CASES[name]
    assert isinstance(task, LogitsTask)
    return task, model(head), data()


@EVERY
def test_answers_follow_from_the_units(name: TaskName) -> None:
    task, network, rows = case(name)
    logits, labels = task.units(network, rows, 5, 0)
    found = task.answers(network, rows, 5, 0)
    known = log_probabilities(logits)
    assert len(found.losses) == len(labels)
    np.testing.assert_allclose(found.losses, -known[np.arange(len(labels)), labels])
    np.testing.assert_array_equal(found.answers, logits.argmax(-1))
    np.testing.assert_array_equal(found.truth, labels)
    np.testing.assert_allclose(found.confidences, np.exp(known).max(-1))
    np.testing.assert_array_equal(found.logits, logits)


@EVERY
def test_a_start_counts_by_what_it_knows_and_not_by_how_loudly_it_says_it(name: TaskName) -> None:
    task, network, rows = case(name)
    found = []
    for louder in (1000.0, 2.0):
        with torch.no_grad():
            for weight in network.classifier.parameters():
                weight.mul_(louder)
        found.append((task.first_loss(network, rows, 5, 0), task.answers(network, rows, 5, 0).loss))
    (quiet, _), (loud, said) = found
    assert loud == pytest.approx(quiet, rel=1e-4)
    assert loud < 0.8 * said


@EVERY
def test_a_model_is_faithful_to_itself(name: TaskName) -> None:
    task, network, rows = case(name)
    own = task.answers(network, rows, 5, 0)
    counts = task.class_counts(rows, 3)
    found = task.fidelity(own, own, counts, Asked(network, network, rows, 5, 0))
    assert (found.agreement, found.calibration_error) == (1.0, found.teacher_calibration_error)
    assert found.divergence == pytest.approx(0, abs=1e-9)
    other = task.fidelity(own, task.answers(model(CASES[name][0], seed=4), rows, 5, 0), counts, found)
    assert other.divergence > 1e-6


def test_classes_that_a_model_does_not_have_are_refused() -> None:
    network = model("sequence")
    check_classes(network, np.array([0, 2]), "training")
    for strange, said in ((3, "found labels 0 to 3 in the training part, expected 0 to 2"), (-1, "found labels -1")):
        with pytest.raises(DataError, match=said):
            check_classes(network, np.array([0, strange]), "training")
    check_classes(torch.nn.Linear(1, 1), np.array([0, 7]), "training")
    with pytest.raises(DataError, match="expected 0 to …"):
        check_classes(torch.nn.Linear(1, 1), np.array([-1]), "training")
