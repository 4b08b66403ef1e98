import numpy as np
import pytest

from edgekd.distill.calibration import calibration
from edgekd.errors import InputError


def sure(*probabilities: float) -> np.ndarray:
    """Logits of answers that say class 0 with these probabilities, and else class 1."""
    first = np.array(probabilities)
    return np.log(np.stack([first, 1 - first], axis=-1)).astype(np.float32)


def test_the_error_equals_one_computed_by_hand() -> None:
    # Confidences 0.9, 0.9, 0.6, 0.8, right 1, 0, 1, 1. The first two share a bin, in which their gaps add up.
    found = calibration(sure(0.9, 0.9, 0.6, 0.2), np.array([0, 1, 0, 1]))
    assert found.error == pytest.approx((abs(0.1 - 0.9) + 0.4 + 0.2) / 4, abs=1e-6)


def test_bins_are_a_fifteenth_wide_and_hold_their_upper_end() -> None:
    # 0.67 and 0.73 lie in one bin (10/15, 11/15], 0.74 in the next one.
    assert calibration(sure(0.67, 0.73), np.array([0, 1])).error == pytest.approx(abs(0.33 - 0.73) / 2, abs=1e-6)
    assert calibration(sure(0.67, 0.74), np.array([0, 1])).error == pytest.approx((0.33 + 0.74) / 2, abs=1e-6)


def test_certain_and_right_is_no_error_and_certain_and_wrong_is_all() -> None:
    certain = np.array([[100.0, 0.0]] * 5)
    right, wrong = calibration(certain, np.zeros(5, dtype=int)), calibration(certain, np.ones(5, dtype=int))
    assert (right.error, right.chance) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert wrong.error == pytest.approx(1)


def test_chance_is_the_mean_error_of_answers_drawn_from_the_confidences() -> None:
    # Four answers at 1/2 are off by |heads - 2| / 4, which is 3/16 on average.
    assert calibration(sure(*[0.5000001] * 4), np.zeros(4, dtype=int)).chance == pytest.approx(3 / 16, abs=0.03)
    few, many = (calibration(sure(*[0.8] * count), np.zeros(count, dtype=int)).chance for count in (40, 4000))
    assert many < few / 5


@pytest.mark.parametrize("seed", range(3))
def test_true_confidences_err_by_chance_and_boasted_ones_by_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3000, 5)) * 1.5
    odds = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in odds])
    true, boasted = calibration(logits, labels), calibration(3 * logits, labels)
    assert true.error < 1.7 * true.chance
    assert boasted.error > 5 * boasted.chance


def test_equal_answers_give_equal_calibrations() -> None:
    logits, labels = np.random.default_rng(1).normal(size=(50, 3)), np.zeros(50, dtype=int)
    assert calibration(logits, labels) == calibration(logits.copy(), labels.copy())


def test_answers_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 answers for 3 labels"):
        calibration(np.zeros((2, 2)), np.zeros(3, dtype=int))
