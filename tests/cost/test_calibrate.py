from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls as reference_nnls

from edgekd.cost.calibrate import ONE, Fit, Sample, fit, left_out_errors, nnls
from edgekd.errors import MeasureError, RecordError

MODELS = ((ONE, "macs"), (ONE, "layers", "macs"), (ONE, "layers", "macs", "weight_bytes", "activation_bytes"))


def true_latency_s(features: dict[str, float]) -> float:
    return 2e-4 + 5e-5 * features["layers"] + features["macs"] / 2e10 + features["activation_bytes"] / 4e9


def random_features(rng: random.Random) -> dict[str, float]:
    layers, hidden = rng.randint(1, 8), rng.choice([64, 128, 192, 256, 384])
    ffn = hidden * rng.choice([1, 2, 4])
    weights = layers * (4 * hidden**2 + 2 * hidden * ffn)
    return {
        "layers": float(layers),
        "macs": 64.0 * weights,
        "weight_bytes": 4.0 * (weights + 8000 * hidden),
        "activation_bytes": 256.0 * layers * (8 * hidden + 2 * ffn),
    }


def noisy_samples(number: int, noise: float, seed: int) -> list[Sample]:
    rng = random.Random(seed)
    found = []
    for index in range(number):
        features = random_features(rng)
        found.append(Sample(f"s{index}", features, true_latency_s(features) * math.exp(rng.gauss(0, noise)), noise))
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(3, 30), columns=st.integers(1, 6))
def test_nnls_reaches_the_residual_of_scipy(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(0, 1, (rows, columns)) * 10.0 ** rng.integers(-6, 9, columns)
    target = rng.uniform(0.1, 1, rows)
    found = np.array(nnls(matrix.tolist(), target.tolist()))
    _, best = reference_nnls(matrix, target)
    assert (found >= 0).all()
    assert np.linalg.norm(matrix @ found - target) <= best + 1e-6 * np.linalg.norm(target)


def test_nnls_gives_the_prices_of_scipy_when_they_are_unique() -> None:
    rng = np.random.default_rng(5)
    matrix = rng.normal(0, 1, (30, 5))
    target = matrix @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + rng.normal(0, 0.1, 30)
    expected, _ = reference_nnls(matrix, target)
    assert nnls(matrix.tolist(), target.tolist()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_nnls_shares_between_equal_columns_without_failing() -> None:
    found = nnls([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], [2.0, 4.0, 6.0])
    assert sum(found) == pytest.approx(2.0, rel=1e-6)


def test_fit_without_noise_finds_the_truth() -> None:
    samples = noisy_samples(12, 0.0, 1)
    found = fit(samples, MODELS)
    for sample in noisy_samples(20, 0.0, 2):
        assert found.predict(sample.features).mid == pytest.approx(sample.value, rel=0.01)


def test_interval_holds_about_the_share_it_promises() -> None:
    inside = total = 0
    promised = []
    for seed in range(40):
        found = fit(noisy_samples(15, 0.05, seed), MODELS)
        promised.append(found.coverage)
        for sample in noisy_samples(20, 0.05, 1000 + seed):
            interval = found.predict(sample.features)
            inside += interval.low <= sample.value <= interval.high
            total += 1
    assert max(promised) <= 0.9
    assert inside / total > 0.8


def test_few_samples_promise_less_coverage() -> None:
    coverages = [fit(noisy_samples(number, 0.01, 3), MODELS).coverage for number in (3, 6, 12)]
    assert coverages == sorted(coverages)
    assert coverages[0] == pytest.approx(0.75)


def test_three_samples_are_fitted_by_overhead_and_scale_alone() -> None:
    found = fit(noisy_samples(3, 0.01, 7), MODELS)
    assert set(found.prices) == {ONE, "macs"}
    assert found.samples == 3


def test_longer_model_is_used_only_when_it_predicts_better() -> None:
    rng = random.Random(11)
    samples = []
    for index in range(12):
        features = random_features(rng)
        samples.append(Sample(f"s{index}", features, (1e-3 + features["macs"] / 1e10) * math.exp(rng.gauss(0, 0.02))))
    assert set(fit(samples, MODELS).prices) == {ONE, "macs"}
    assert "layers" in fit(noisy_samples(12, 0.005, 11), MODELS).prices


@pytest.mark.parametrize("factor", [0.2, 3.0, 10.0])
@pytest.mark.parametrize("wild", range(8))
def test_one_outlier_is_set_aside_and_named(factor: float, wild: int) -> None:
    samples = noisy_samples(8, 0.01, 21)
    spoilt = samples[wild]
    samples[wild] = Sample(spoilt.name, spoilt.features, spoilt.value * factor)
    found = fit(samples, ((ONE, "macs"), (ONE, "layers", "macs")))
    assert found.outliers == (spoilt.name,)
    errors = [abs(found.predict(s.features).mid / true_latency_s(dict(s.features)) - 1) for s in samples]
    assert sorted(errors)[4] < 0.12


def test_clean_samples_have_no_outlier() -> None:
    assert all(fit(noisy_samples(12, 0.02, seed), MODELS).outliers == () for seed in range(10))


def test_confirmed_sample_is_never_set_aside() -> None:
    samples = noisy_samples(8, 0.01, 21)
    samples[0] = Sample("wild", samples[0].features, samples[0].value * 3, confirmed=True)
    found = fit(samples, MODELS)
    assert "wild" not in found.outliers
    assert found.half_width > 0.5


def test_left_out_errors_are_those_of_fits_that_did_not_see_the_sample() -> None:
    samples = [Sample(str(x), {"macs": float(x)}, float(x)) for x in (1, 2, 3)] + [Sample("4", {"macs": 4.0}, 8.0)]
    errors = left_out_errors(samples, (ONE, "macs"))
    assert errors[3] == pytest.approx(math.log(2), rel=1e-3)


def test_fit_survives_the_way_through_a_table() -> None:
    found = fit(noisy_samples(8, 0.02, 5), MODELS)
    assert Fit.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prices": {}}, "prices"),
        ({"prices": {"macs": -1.0}}, "negative"),
        ({"half_width": "wide"}, "half_width"),
        ({"coverage": True}, "coverage"),
        ({"outliers": [1]}, "outliers"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_table_is_refused(change: dict[str, object], words: str) -> None:
    table = {**fit(noisy_samples(5, 0.02, 5), MODELS).to_dict(), **change}
    with pytest.raises(RecordError, match=words):
        Fit.from_dict(table)


def test_two_samples_are_too_few() -> None:
    with pytest.raises(MeasureError, match="needs 3"):
        fit(noisy_samples(2, 0.0, 1), MODELS)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_value_is_refused(value: float) -> None:
    samples = [*noisy_samples(3, 0.0, 1), Sample("bad", random_features(random.Random(1)), value)]
    with pytest.raises(MeasureError, match="bad"):
        fit(samples, MODELS)


def test_missing_feature_is_named() -> None:
    samples = [Sample(str(x), {"macs": float(x)}, float(x)) for x in (1, 2, 3)]
    with pytest.raises(MeasureError, match="layers"):
        fit(samples, MODELS)
    with pytest.raises(MeasureError, match="macs"):
        fit(samples, ((ONE, "macs"),)).predict({"layers": 1.0})
