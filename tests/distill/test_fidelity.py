from typing import Any

import numpy as np
import pytest

from edgekd.distill.calibration import calibration
from edgekd.distill.fidelity import Fidelity, fidelity
from edgekd.errors import InputError

EVEN = np.array([50, 50])


def answering(answers: Any, classes: int = 2) -> np.ndarray:
    """Logits that say `answers`, rather surely."""
    return 3.0 * np.eye(classes)[np.asarray(answers)]


def found(answers: Any, teacher_answers: Any, labels: Any, counts: Any = EVEN) -> Fidelity:
    return fidelity(answering(answers), answering(teacher_answers), np.asarray(labels), counts)


def wrong_at(labels: np.ndarray, *rows: Any) -> np.ndarray:
    """`labels` with the other answer at these rows."""
    answers = labels.copy()
    for row in rows:
        answers[row] = 1 - answers[row]
    return answers


LABELS = np.arange(1000) % 2


def test_agreement_and_divergence_equal_values_computed_by_hand() -> None:
    own, its = np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]), np.log([[0.8, 0.2], [0.2, 0.8], [0.4, 0.6]])
    labels = np.array([0, 1, 0])
    result = fidelity(own, its, labels, EVEN)
    assert result.agreement == pytest.approx(2 / 3)
    by_hand = [0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5), 0, 0.4 * np.log(0.4 / 0.9) + 0.6 * np.log(0.6 / 0.1)]
    assert result.divergence == pytest.approx(np.mean(by_hand))
    assert result.calibration_error == calibration(own, labels).error
    assert result.teacher_calibration_error == calibration(its, labels).error
    assert result.calibration_error != result.teacher_calibration_error


def test_the_divergence_is_from_the_teacher_and_zero_between_equals() -> None:
    own, its = np.log([[0.5, 0.5]]), np.log([[0.99, 0.01]])
    label = np.array([0])
    assert fidelity(own, its, label, EVEN).divergence != pytest.approx(fidelity(its, own, label, EVEN).divergence)
    assert fidelity(its, its, label, EVEN).divergence == pytest.approx(0, abs=1e-12)


def test_a_student_that_agrees_and_is_worse_beyond_chance_imitates() -> None:
    # The teacher is wrong on 100 rows; the student repeats them and is wrong on further ones.
    teacher = wrong_at(LABELS, slice(0, 100))
    told = found(wrong_at(LABELS, slice(0, 110)), teacher, LABELS).warning
    assert told is not None
    assert "agrees with its teacher on 99.0 %" in told
    assert "is right on 89.0 %, its teacher on 90.0 %" in told
    assert found(wrong_at(LABELS, slice(0, 109)), teacher, LABELS).warning is not None
    assert found(wrong_at(LABELS, slice(0, 108)), teacher, LABELS).warning is None, "eight may be chance"


def test_a_student_that_is_wrong_elsewhere_is_worse_without_imitating() -> None:
    # As wrong as the one above, but it mends 95 of the teacher's mistakes and makes 105 of its own.
    teacher = wrong_at(LABELS, slice(0, 100))
    other = wrong_at(LABELS, slice(0, 5), slice(500, 650))
    result = found(other, teacher, LABELS)
    assert result.agreement < 0.9
    assert result.warning is None


def test_a_student_as_good_as_its_teacher_has_no_warning() -> None:
    teacher = wrong_at(LABELS, slice(0, 100))
    assert found(teacher, teacher, LABELS).warning is None
    assert found(LABELS, teacher, LABELS).warning is None
    assert found(LABELS, LABELS, LABELS).warning is None


def test_the_difference_is_paired() -> None:
    # Ten rows more are wrong in both cases; where student and teacher also differ both ways, that is chance.
    teacher = wrong_at(LABELS, slice(0, 200))
    assert found(wrong_at(LABELS, slice(0, 210)), teacher, LABELS).warning is not None
    both_ways = found(wrong_at(LABELS, slice(50, 260)), teacher, LABELS)
    assert both_ways.agreement >= 0.8
    assert both_ways.warning is None


def test_a_student_that_says_one_class_only_imitates_a_teacher_that_mostly_says_it() -> None:
    labels = (np.arange(1000) < 80).astype(int)
    teacher = wrong_at(labels, slice(0, 40))
    told = found(np.zeros(1000, dtype=int), teacher, labels, np.array([920, 80])).warning
    assert told is not None
    assert "hardly more than class 0 alone would give (92.0 %)" in told


def test_a_student_that_learned_nothing_at_all_speaks_for_itself() -> None:
    assert found(np.zeros(1000, dtype=int), LABELS, LABELS).warning is None


def test_answers_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 answers for 3 labels"):
        found([0, 1], [0, 1, 1], [0, 1, 1])
    with pytest.raises(InputError, match="2 answers for 3 labels"):
        found([0, 1, 1], [0, 1], [0, 1, 1])
