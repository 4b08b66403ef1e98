from dataclasses import replace
from typing import Any

import pytest

from edgekd.distill.settings import EpochRecord, TrainingSettings
from edgekd.distill.stopping import reached_teacher, stop_reason

STUDENT = TrainingSettings(
    epochs=9, learning_rate=1e-3, batch_size=8, patience=3, alpha=0.9, teacher_validation_loss=0.5
)
TEACHER = replace(STUDENT, alpha=0.0, teacher_validation_loss=None)


def history(losses: list[float], *, train_losses: list[float] | None = None, accuracies: Any = None) -> Any:
    told = zip(losses, train_losses or losses, accuracies or [0.8] * len(losses), strict=True)
    return tuple(
        EpochRecord(number, number, train_loss, loss, accuracy, 0.9, 1e-3, 0.1, 0.05)
        for number, (loss, train_loss, accuracy) in enumerate(told, start=1)
    )


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.505, 0.505, 0.505], True),
        ([0.51, 0.51, 0.51], True),  # exactly 2 % above the teacher
        ([0.511, 0.511, 0.511], False),  # a little further away
        ([0.3, 0.3, 0.3], True),  # better than the teacher is close enough
        ([0.505, 0.505], False),  # two evaluations that could have been better than none
        ([0.505, 0.5046, 0.5044], False),  # 0.12 % better within two evaluations
        ([0.505, 0.5044, 0.505], False),
        ([0.505, 0.5046, 0.5046], True),  # 0.08 % better is none
        ([0.9, 0.505, 0.505], False),
        ([0.9, 0.505, 0.505, 0.505], True),
        ([0.6, 0.5, 0.55, 0.6], True),  # the second one is kept
        ([], False),
    ],
)
def test_a_student_has_reached_its_teacher_when_it_is_close_and_learns_no_more(
    losses: list[float], expected: bool
) -> None:
    assert reached_teacher(history(losses), 0.5) is expected


def test_the_weights_that_would_be_kept_must_be_as_good_and_not_only_others() -> None:
    losses = [0.8, 0.505, 0.505, 0.505]
    assert reached_teacher(history(losses, accuracies=[0.7, 0.8, 0.8, 0.8]), 0.5)
    assert not reached_teacher(history(losses, accuracies=[0.9, 0.8, 0.8, 0.8]), 0.5)


def test_where_the_accuracy_of_the_teacher_is_known_it_must_be_reached_too() -> None:
    flat = history([0.1, 0.1, 0.1])
    assert reached_teacher(flat, 0.5, 0.8)
    assert not reached_teacher(flat, 0.5, 0.81)
    assert stop_reason(flat, 9, replace(STUDENT, teacher_validation_accuracy=0.8)) == "reached_teacher"
    assert stop_reason(flat, 9, replace(STUDENT, teacher_validation_accuracy=0.81)) is None


def test_the_rule_looks_at_the_cross_entropy_and_never_at_the_distillation_loss() -> None:
    fallen = [4.0, 0.21, 0.2, 0.2]
    stuck = history([2.3, 2.3, 2.3, 2.3], train_losses=fallen)
    assert stop_reason(stuck[:3], 9, STUDENT) is None
    assert stop_reason(stuck, 9, STUDENT) == "capacity_limited"
    taught = history([2.3, 0.2, 0.2, 0.2], train_losses=[9.0, 9.0, 9.0, 9.0])
    assert stop_reason(taught, 9, STUDENT) == "reached_teacher"


def test_patience_names_its_reason_by_whether_there_is_a_teacher() -> None:
    worse = history([2.0, 2.1, 2.2, 2.3])
    assert stop_reason(worse, 9, STUDENT) == "capacity_limited"
    assert stop_reason(worse, 9, replace(STUDENT, teacher_validation_loss=None)) == "capacity_limited"
    assert stop_reason(worse, 9, replace(STUDENT, alpha=0.0)) == "capacity_limited"
    assert stop_reason(worse, 9, TEACHER) == "early"
    assert stop_reason(worse[:3], 9, STUDENT) is None


def test_without_a_teacher_nobody_is_reached() -> None:
    flat = history([0.1, 0.1, 0.1], accuracies=[0.7, 0.8, 0.9])
    assert stop_reason(flat, 9, STUDENT) == "reached_teacher"
    assert stop_reason(flat, 9, TEACHER) is None
    assert stop_reason(flat, 9, replace(STUDENT, teacher_validation_loss=None)) is None


def test_epochs_with_a_scaffold_end_nothing_and_count_as_run() -> None:
    worse = history([0.8, 0.9, 1.0, 1.1])
    assert stop_reason(worse, 9, STUDENT) == "capacity_limited"
    scaffolded = tuple(replace(record, scaffold=1) for record in worse)
    assert stop_reason(scaffolded, 9, STUDENT) is None
    assert stop_reason(scaffolded, 4, STUDENT) == "finished"
    # The first epoch without one begins the count anew.
    last = tuple(replace(record, scaffold=int(record.epoch < 3)) for record in worse)
    assert stop_reason(last, 9, STUDENT) is None
    assert stop_reason(last, 9, replace(STUDENT, patience=1)) == "capacity_limited"
    good = tuple(replace(record, scaffold=int(record.epoch < 3)) for record in history([0.5, 0.5, 0.5, 0.5]))
    assert stop_reason(good, 9, STUDENT) is None
    assert stop_reason(tuple(replace(record, scaffold=0) for record in good), 9, STUDENT) == "reached_teacher"


def test_a_training_that_used_all_its_epochs_has_finished_whatever_else_is_true() -> None:
    assert stop_reason(history([0.1, 0.1, 0.1, 0.1]), 4, STUDENT) == "finished"
    assert stop_reason(history([2.0, 2.1, 2.2, 2.3]), 4, STUDENT) == "finished"
