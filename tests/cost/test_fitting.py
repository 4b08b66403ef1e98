from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekd.cost.fitting import backbone_errors, learnt, penalised

Floats = NDArray[np.float64]

PRICES = np.array([2.0, 0.5, 1.0, 0.7, 0.0, 0.3])
BACKBONE = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1], [0, 1], [0, 1]])


def features(rng: np.random.Generator, number: int) -> Floats:
    """Six collinear terms: a constant, and five that all grow with the size of the model."""
    size = rng.lognormal(0, 0.7, (number, 1))
    return np.hstack([np.ones((number, 1)), size * rng.lognormal(0, 0.3, (number, 5))])


def measured(rng: np.random.Generator, rows: Floats, noise: float) -> Floats:
    return np.asarray(rows @ PRICES * np.exp(rng.normal(0, noise, len(rows))))


def test_without_noise_the_prices_of_many_samples_are_the_true_ones() -> None:
    rng = np.random.default_rng(1)
    rows = features(rng, 50)
    found = penalised(rows, rows @ PRICES, BACKBONE)
    assert found.prices == pytest.approx(PRICES, abs=0.02)
    assert np.abs(found.errors).max() < 0.02


def test_errors_are_those_of_fits_that_did_not_see_the_sample() -> None:
    rng = np.random.default_rng(2)
    rows = features(rng, 12)
    values = rows @ PRICES
    values[4] *= 1.2
    errors = penalised(rows, values, BACKBONE).errors
    others = np.delete(np.arange(12), 4)
    without = penalised(rows[others], values[others], BACKBONE)
    assert errors[4] == pytest.approx(np.log(values[4] / (rows[4] @ without.prices)), abs=0.05)
    assert errors[4] == pytest.approx(np.log(1.2), abs=0.05)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
def test_units_of_features_and_of_values_change_nothing(unit: float) -> None:
    rng = np.random.default_rng(3)
    rows = features(rng, 15)
    values = measured(rng, rows, 0.03)
    scales = unit ** np.linspace(-1, 1, 6)
    plain = penalised(rows, values, BACKBONE)
    scaled = penalised(rows * scales, values * unit, BACKBONE / scales[:, None])
    assert (rows * scales) @ scaled.prices / unit == pytest.approx(rows @ plain.prices, rel=1e-6)
    assert scaled.errors == pytest.approx(plain.errors, abs=1e-6)
    assert scaled.leverages == pytest.approx(plain.leverages, rel=1e-4)


def test_the_backbone_helps_where_it_is_true_and_does_not_hurt_where_samples_are_many() -> None:
    def error(number: int, sums: Floats, prices: Floats, noise: float) -> float:
        worst = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            rows, others = features(rng, number), features(rng, 200)
            values = rows @ prices * np.exp(rng.normal(0, noise, number))
            found = penalised(rows, values, sums)
            worst.append(np.median(np.abs(np.log(others @ found.prices / (others @ prices)))))
        return float(np.mean(worst))

    even = np.array([2.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert error(10, BACKBONE, even, 0.05) < 0.8 * error(10, np.eye(6), even, 0.05)
    assert error(60, BACKBONE, PRICES, 0.01) < 0.01


def test_leverage_is_small_among_the_samples_and_large_far_from_them() -> None:
    rng = np.random.default_rng(4)
    rows = features(rng, 20)
    found = penalised(rows, measured(rng, rows, 0.02), BACKBONE)

    def leverage(row: Floats) -> float:
        return float(np.square(row @ found.root).sum() / (row @ found.prices) ** 2)

    inside = leverage(rows.mean(axis=0))
    lopsided = leverage(np.array([0.0, 0, 0, 0, 50.0, 0]))
    assert inside < 0.5
    assert lopsided > 3 * inside


@pytest.mark.parametrize("factor", [0.1, 0.3, 3.0, 10.0])
@pytest.mark.parametrize("bad", [1, 3])
def test_a_few_bad_samples_in_fifteen_are_set_aside_and_ruin_nothing(factor: float, bad: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = features(rng, 15)
        values = measured(rng, rows, 0.02)
        spoilt = rng.choice(15, bad, replace=False)
        values[spoilt] *= factor
        found = learnt(rows.tolist(), values.tolist(), BACKBONE.tolist(), [False] * 15)
        assert np.flatnonzero(found.aside).tolist() == sorted(spoilt)
        others = features(rng, 100)
        errors = np.abs(np.log(others @ np.array(found.prices) / (others @ PRICES)))
        assert np.median(errors) < 0.04


def test_confirmed_sample_is_never_set_aside() -> None:
    rng = np.random.default_rng(6)
    rows = features(rng, 15)
    values = measured(rng, rows, 0.02)
    values[2] *= 5
    confirmed = [index == 2 for index in range(15)]
    found = learnt(rows.tolist(), values.tolist(), BACKBONE.tolist(), confirmed)
    assert not any(found.aside)
    assert max(found.sizes) > 1


def test_a_sample_that_only_the_backbone_cannot_tell_stays() -> None:
    rng = np.random.default_rng(7)
    rows = features(rng, 40)
    rows[:3, 5] *= 12  # three students with much of the one term that the backbone underrates
    prices = np.array([2.0, 0.5, 0.5, 0.5, 0.5, 3.0])
    values = rows @ prices
    sums = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1], [0, 1], [0, 0.2]])
    assert np.abs(backbone_errors(rows, values, sums))[:3].min() > 0.3
    assert not any(learnt(rows.tolist(), values.tolist(), sums.tolist(), [False] * 40).aside)


def test_a_feature_that_no_sample_has_is_priced_like_its_backbone() -> None:
    rng = np.random.default_rng(8)
    rows = features(rng, 20)
    rows[:, 5] = 0
    found = penalised(rows, rows @ np.array([2.0, 0.5, 0.5, 0.5, 0.5, 0]), BACKBONE)
    assert found.prices[5] == pytest.approx(0.5, rel=0.1)
