"""Energy from latency, MACs and bytes: prices are found, both doubts are in the interval, and it grows with its causes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgekd.cost.calibrate import Fit, Interval, Intervals, Sample
from edgekd.cost.energy import (
    ENERGY_TERMS,
    LEAST_POWER,
    energies_of,
    energy_by_budget,
    energy_features,
    energy_fit,
    energy_of,
    power_budget_w,
)
from edgekd.device import load_profile
from edgekd.errors import MeasureError

WATTS, J_PER_MAC, J_PER_BYTE = 4.0, 2e-11, 3e-10


def students(seed: int, number: int) -> list[tuple[dict[str, float], float]]:
    """Features and a latency each, of which none follows from the others alone."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        macs, weights = float(rng.lognormal(17, 1)), float(rng.lognormal(15, 1))
        features = {"macs": macs, "weight_bytes": weights, "activation_bytes": weights / 4}
        found.append((features, float(macs / 1e10 + 1.25 * weights / 2e10 + rng.uniform(0, 5e-4))))
    return found


def joules(features: dict[str, float], latency_s: float) -> float:
    traffic_bytes = features["weight_bytes"] + features["activation_bytes"]
    return WATTS * latency_s + J_PER_MAC * features["macs"] + J_PER_BYTE * traffic_bytes


def fitted(seed: int, number: int, noise: float = 0.01) -> Fit:
    rng = np.random.default_rng(100 + seed)
    return energy_fit(
        [
            Sample(
                str(index), energy_features(each, latency_s), joules(each, latency_s) * math.exp(rng.normal(0, noise))
            )
            for index, (each, latency_s) in enumerate(students(seed, number))
        ]
    )


def test_unseen_students_are_predicted_and_most_lie_in_their_interval() -> None:
    inside, off = 0, []
    for seed in range(10):
        fit = fitted(seed, 20)
        assert tuple(fit.prices) == ENERGY_TERMS
        for features, latency_s in students(1000 + seed, 50):
            found = energy_of(fit, features, Interval(latency_s, latency_s, latency_s))
            truth = joules(features, latency_s)
            inside += found.low <= truth <= found.high
            off.append(abs(math.log(found.mid / truth)))
    assert inside / 500 >= 0.85
    assert float(np.median(off)) < 0.01
    assert np.quantile(off, 0.95) < 0.1


def test_the_doubt_about_the_latency_is_in_the_energy() -> None:
    fit, ((features, latency_s),) = fitted(1, 20), students(2, 1)
    sure = energy_of(fit, features, Interval(latency_s, latency_s, latency_s))
    unsure = energy_of(fit, features, Interval(0.5 * latency_s, latency_s, 3 * latency_s))
    assert unsure.mid == sure.mid
    assert unsure.low < sure.low
    assert unsure.high - sure.high >= 0.99 * fit.prices["latency_s"] * 2 * latency_s


def test_columns_give_what_each_student_gives_alone() -> None:
    fit, many = fitted(3, 20), students(4, 300)
    columns = {name: np.array([features[name] for features, _ in many]) for name in many[0][0]}
    seconds = np.array([latency_s for _, latency_s in many])
    found = energies_of(fit, columns, Intervals(0.9 * seconds, seconds, 1.2 * seconds))
    for row, (features, latency_s) in enumerate(many):
        alone = energy_of(fit, features, Interval(0.9 * latency_s, latency_s, 1.2 * latency_s))
        assert (found.low[row], found.mid[row], found.high[row]) == pytest.approx((alone.low, alone.mid, alone.high))


def test_an_unknown_latency_gives_an_unknown_energy_and_one_without_an_end_one_without_an_end() -> None:
    fit, ((features, _),) = fitted(3, 20), students(4, 1)
    columns = {name: np.array([value] * 2) for name, value in features.items()}
    ends = Intervals(np.array([math.nan, 0.0]), np.array([math.nan, 1e-3]), np.array([math.nan, math.inf]))
    found = energies_of(fit, columns, ends)
    assert all(math.isnan(getattr(found, end)[0]) for end in ("low", "mid", "high"))
    assert found.high[1] == math.inf
    assert math.isfinite(found.mid[1])


def test_a_larger_student_that_is_no_faster_takes_no_less() -> None:
    """What the search for the best student in boxes rests on, for the middle and for its product with a half width."""
    rng = np.random.default_rng(7)
    for seed in range(5):
        fit = fitted(seed, 12, noise=0.1)
        for features, latency_s in students(50 + seed, 40):
            larger = {name: value * rng.uniform(1, 2) for name, value in features.items()}
            slower_s = latency_s * rng.uniform(1, 2)
            small = energy_of(fit, features, Interval(latency_s, latency_s, latency_s))
            large = energy_of(fit, larger, Interval(slower_s, slower_s, slower_s))
            assert large.mid >= small.mid
            assert large.high >= small.mid * math.exp(fit.half_width)


def test_a_budget_bounds_the_energy_from_both_sides_and_not_every_profile_has_one() -> None:
    assert power_budget_w(load_profile("jetson-orin-nano-super")) == 25.0
    assert power_budget_w(load_profile("raspberry-pi-5")) is None
    low, mid, high = energy_by_budget(10.0, 1e-3, 2e-3, 4e-3)
    assert (low, high) == (pytest.approx(LEAST_POWER * 1e-2), pytest.approx(4e-2))
    assert low < mid < high


@pytest.mark.parametrize("number", [0, 2])
def test_too_few_students_make_no_fit(number: int) -> None:
    with pytest.raises(MeasureError, match="needs 3"):
        fitted(1, number)


def test_features_that_are_missing_are_named() -> None:
    found: dict[str, Any] = {"macs": 1.0, "weight_bytes": 1.0}
    with pytest.raises(KeyError, match="activation_bytes"):
        energy_features(found, 1.0)
