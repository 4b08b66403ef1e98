from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekd.cost.calibrate import ONE, Sample
from edgekd.cost.drift import Window, drifted_samples, drifted_windows
from edgekd.errors import MeasureError


def noise(seed: int, rows: int = 600, deviation: float = 0.02) -> NDArray[np.float64]:
    """Errors with the heavy tails of real ones, and a wild value in a hundred."""
    rng = np.random.default_rng(seed)
    errors = deviation * rng.standard_t(4, rows)
    errors[rng.random(rows) < 0.01] += math.log(5)
    return errors


def overlap(windows: list[Window], first: int, last: int) -> tuple[int, int]:
    """How many rows of the true window were found, and how many others."""
    found = {row for window in windows for row in window.rows}
    true = set(range(first, last + 1))
    return len(found & true), len(found - true)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.25, 2.0, 10.0])
@pytest.mark.parametrize("length", [20, 100, 250])
def test_shifted_stretch_is_found_with_its_ends(factor: float, length: int) -> None:
    for seed in range(4):
        errors = noise(seed)
        first = int(np.random.default_rng(seed).integers(0, len(errors) - length + 1))
        errors[first : first + length] += math.log(factor)
        windows = drifted_windows(errors)
        hit, wrong = overlap(windows, first, first + length - 1)
        assert hit >= 0.85 * length
        assert wrong <= 4
        assert max(windows, key=lambda one: len(one.rows)).shift == pytest.approx(math.log(factor), abs=0.03)


def test_errors_without_drift_raise_few_false_alarms() -> None:
    flagged = [sum(len(window.rows) for window in drifted_windows(noise(seed), seed)) for seed in range(100)]
    assert sum(rows > 0 for rows in flagged) <= 4
    assert sum(flagged) / (100 * 600) < 0.001


def test_two_modes_without_memory_are_no_drift() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert drifted_windows(np.where(rng.random(1000) < 0.3, 0.12, 0.0) + rng.normal(0, 0.01, 1000)) == []


def test_shift_too_small_to_matter_is_left_alone() -> None:
    errors = noise(1, deviation=0.005)
    errors[100:300] += 0.03
    assert drifted_windows(errors) == []


def test_several_windows_are_found_in_order() -> None:
    errors = noise(2, rows=1000)
    errors[:60] += 2.3
    errors[500:560] -= 0.3
    errors[900:] += 0.2
    found = drifted_windows(errors)
    assert [abs(one.first - first) <= 3 for one, first in zip(found, (0, 500, 900), strict=True)] == [True] * 3
    assert [round(one.shift, 1) for one in found] == [2.3, -0.3, 0.2]


@pytest.mark.parametrize("rows", [0, 1, 5, 16])
def test_few_rows_have_no_window(rows: int) -> None:
    assert drifted_windows(np.linspace(0, 5, rows)) == []


def test_errors_of_nothing_but_rounding_are_no_drift() -> None:
    assert drifted_windows(np.zeros(100)) == []
    assert drifted_windows(1e-15 * np.arange(100)) == []


def test_same_errors_give_the_same_windows_in_any_unit_and_reversed() -> None:
    errors = noise(3)
    errors[50:120] += 0.3
    (one,) = drifted_windows(errors)
    (shifted,) = drifted_windows(errors + 7.0)
    (back,) = drifted_windows(errors[::-1])
    assert (shifted.first, shifted.last) == (one.first, one.last)
    assert (back.first, back.last) == pytest.approx((599 - one.last, 599 - one.first), abs=2)


def test_drifted_samples_are_those_that_a_fit_of_the_others_does_not_explain() -> None:
    rng = np.random.default_rng(4)
    samples = []
    for index in range(300):
        layers, work = float(rng.integers(1, 9)), float(rng.lognormal(0, 1))
        slow = 3.0 if 40 <= index < 130 else 1.0
        value = (1 + 0.5 * layers + 2 * work) * math.exp(rng.normal(0, 0.02)) * slow
        samples.append(Sample(f"s{index}", {"layers": layers, "work": work}, value))
    (window,) = drifted_samples(samples, (ONE, "work", "layers"))
    assert abs(window.first - 40) <= 1
    assert abs(window.last - 129) <= 1
    assert window.shift == pytest.approx(math.log(3), abs=0.03)


def test_drifted_samples_refuse_what_a_fit_refuses() -> None:
    with pytest.raises(MeasureError, match="needs 3"):
        drifted_samples([Sample("a", {"work": 1.0}, 1.0)], (ONE, "work"))
