from __future__ import annotations

import numpy as np
import pytest

from edgekd.trials.curve import can_reach


def power_law(end: float, height: float, rate: float, steps: list[int]) -> list[tuple[int, float]]:
    return [(step, end + height * step**-rate) for step in steps]


def test_a_flat_curve_far_above_is_ended() -> None:
    assert not can_reach([(10, 2.0), (20, 1.99), (30, 1.98)], 40, 1.0, 0.01)


def test_a_curve_that_falls_fast_enough_goes_on() -> None:
    assert can_reach([(10, 2.0), (20, 1.7), (30, 1.4)], 40, 1.1, 0.0)
    assert not can_reach([(10, 2.0), (20, 1.7), (30, 1.4)], 40, 1.0, 0.0)


def test_the_error_of_the_loss_is_allowed_for() -> None:
    assert can_reach([(10, 2.0), (20, 1.7), (30, 1.4)], 40, 1.0, 0.05)


def test_too_few_points_end_nothing() -> None:
    assert can_reach([(10, 9.0), (20, 9.0)], 40, 0.1, 0.0)
    assert can_reach([], 40, 0.1, 0.0)


def test_a_pause_does_not_end_a_curve_that_fell_before() -> None:
    assert can_reach([(10, 3.0), (20, 2.0), (30, 2.0)], 40, 1.5, 0.0)


def test_a_rising_curve_is_not_taken_to_rise_on() -> None:
    assert can_reach([(10, 1.0), (20, 1.1), (30, 1.2)], 40, 1.2, 0.0)
    assert not can_reach([(10, 1.0), (20, 1.1), (30, 1.2)], 40, 1.1, 0.0)


@pytest.mark.parametrize("seed", range(50))
def test_no_flattening_curve_is_ended_that_would_have_reached(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = [25, 50, 75, 100]
    curve = power_law(rng.uniform(0, 1), rng.uniform(0.5, 20), rng.uniform(0.2, 2), steps)
    for points in (curve[:3], curve[:2]):
        assert can_reach(points, 100, curve[-1][1], 0.0)


def test_noise_rarely_ends_a_curve_that_would_have_reached() -> None:
    rng, ended = np.random.default_rng(1), 0
    for _ in range(500):
        curve = power_law(0.5, 3, 0.7, [25, 50, 75, 100])
        noisy = [(step, loss + rng.normal(0, 0.05)) for step, loss in curve[:3]]
        ended += not can_reach(noisy, 100, curve[-1][1], 0.05)
    assert ended <= 5
