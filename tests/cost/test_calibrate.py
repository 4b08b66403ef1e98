from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.cost.calibrate import ONE, Fit, Sample, fit
from edgekd.errors import MeasureError, RecordError

TERMS = (ONE, "macs", "layers", "weight_bytes", "activation_bytes")


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


def test_fit_without_noise_finds_the_truth() -> None:
    samples = noisy_samples(12, 0.0, 1)
    found = fit(samples, TERMS)
    for sample in noisy_samples(20, 0.0, 2):
        assert found.predict(sample.features).mid == pytest.approx(sample.value, rel=0.01)


@pytest.mark.parametrize("noise", [0.02, 0.08])
@pytest.mark.parametrize("number", [10, 20, 50])
def test_interval_that_promises_90_percent_holds_85_to_97(number: int, noise: float) -> None:
    inside = []
    for seed in range(40):
        found = fit(noisy_samples(number, noise, seed), TERMS)
        assert found.coverage == 0.9
        for sample in noisy_samples(40, noise, 1000 + seed):
            interval = found.predict(sample.features)
            inside.append(interval.low <= sample.value <= interval.high)
    assert 0.85 <= np.mean(inside) <= 0.97


def test_interval_holds_what_it_promises_with_wild_noise_too() -> None:
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)

        def disturbed(sample: Sample, rng: np.random.Generator = rng) -> Sample:
            return Sample(sample.name, sample.features, sample.value * math.exp(0.03 * rng.standard_t(3)))

        found = fit([disturbed(sample) for sample in noisy_samples(20, 0.0, seed)], TERMS)
        for sample in map(disturbed, noisy_samples(40, 0.0, 1000 + seed)):
            interval = found.predict(sample.features)
            inside.append(interval.low <= sample.value <= interval.high)
    assert 0.85 <= np.mean(inside) <= 0.97


def test_interval_widens_beyond_the_samples_and_still_holds() -> None:
    inside, wider = [], []
    for seed in range(40):
        pool = sorted(noisy_samples(80, 0.03, seed), key=lambda sample: sample.value)
        found = fit(pool[:40:2], TERMS)
        near = [found.predict(sample.features) for sample in pool[1:40:2]]
        far = [found.predict(sample.features) for sample in pool[-15:]]
        inside += [i.low <= s.value <= i.high for i, s in zip(far, pool[-15:], strict=True)]
        wider.append(np.mean([i.high / i.mid for i in far]) > np.mean([i.high / i.mid for i in near]))
    assert np.mean(wider) > 0.95
    assert np.mean(inside) > 0.8


def test_few_samples_promise_less_coverage() -> None:
    coverages = [fit(noisy_samples(number, 0.01, 3), TERMS).coverage for number in (3, 6, 12)]
    assert coverages == [0.75, pytest.approx(6 / 7), 0.9]


@pytest.mark.parametrize("number", [3, 4, 6])
def test_interval_of_few_samples_holds_about_what_it_promises(number: int) -> None:
    inside, promised = [], 0.0
    for seed in range(100):
        found = fit(noisy_samples(number, 0.02, seed), TERMS)
        promised = found.coverage
        for sample in noisy_samples(20, 0.02, 1000 + seed):
            interval = found.predict(sample.features)
            inside.append(interval.low <= sample.value <= interval.high)
    assert found.samples == number
    assert abs(np.mean(inside) - promised) < 0.08


def test_many_students_at_once_are_predicted_as_one_by_one() -> None:
    found = fit(noisy_samples(12, 0.03, 4), TERMS)
    students = [sample.features for sample in noisy_samples(500, 0.0, 5)]
    columns = {term: np.array([features[term] for features in students]) for term in TERMS[1:]}
    many = found.predict_many({term: np.tile(column, 40) for term, column in columns.items()})
    assert many.mid.shape == (20_000,)
    for index in (0, 499, 8191, 8192, 19_999):
        one = found.predict(students[index % 500])
        assert (many.low[index], many.mid[index], many.high[index]) == pytest.approx((one.low, one.mid, one.high))


def test_student_without_any_work_is_unknown_and_not_free() -> None:
    found = Fit({"macs": 2.0}, 0.1, 0.9, 5, root=((1.0,),))
    one, many = found.predict({"macs": 0.0}), found.predict_many({"macs": np.array([0.0, 1.0])})
    assert (one.low, one.mid, one.high) == (0.0, 0.0, math.inf)
    assert many.high.tolist() == [math.inf, pytest.approx(2 * math.exp(0.1 * math.sqrt(1.25)))]


def test_columns_must_be_there_and_of_one_length() -> None:
    found = fit(noisy_samples(5, 0.02, 5), TERMS)
    columns = {term: np.ones(3) for term in TERMS[1:]}
    with pytest.raises(MeasureError, match="macs"):
        found.predict_many({term: column for term, column in columns.items() if term != "macs"})
    with pytest.raises(MeasureError, match="one length"):
        found.predict_many({**columns, "macs": np.ones(2)})


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(3, 30), unit=st.sampled_from([1e-6, 1e3, 1e9]))
def test_unit_of_the_values_does_not_matter(seed: int, number: int, unit: float) -> None:
    samples = noisy_samples(number, 0.05, seed)
    scaled = [replace(sample, value=sample.value * unit) for sample in samples]
    one, other = fit(samples, TERMS), fit(scaled, TERMS)
    features = samples[0].features
    assert other.predict(features).high / unit == pytest.approx(one.predict(features).high, rel=1e-4)


@pytest.mark.parametrize("factor", [0.2, 3.0, 10.0])
@pytest.mark.parametrize("wild", range(8))
def test_one_outlier_is_set_aside_and_named(factor: float, wild: int) -> None:
    samples = noisy_samples(8, 0.01, 21)
    spoilt = samples[wild]
    samples[wild] = Sample(spoilt.name, spoilt.features, spoilt.value * factor)
    found = fit(samples, TERMS)
    assert found.outliers == (spoilt.name,)
    errors = [abs(found.predict(s.features).mid / true_latency_s(dict(s.features)) - 1) for s in samples]
    assert sorted(errors)[4] < 0.12


@pytest.mark.parametrize("seed", range(5))
def test_what_is_set_aside_counts_as_an_error_beyond_all_others(seed: int) -> None:
    samples = noisy_samples(20, 0.05, seed)
    wild = replace(samples[-1], value=samples[-1].value * 5)
    found, others = fit([*samples[:-1], wild], TERMS), fit(samples[:-1], TERMS)
    assert found.outliers == (wild.name,)
    assert found.prices == pytest.approx(others.prices, rel=1e-6)
    assert others.half_width < found.half_width < 2 * others.half_width


def test_clean_samples_have_no_outlier() -> None:
    assert all(fit(noisy_samples(12, 0.02, seed), TERMS).outliers == () for seed in range(10))


def test_confirmed_sample_is_never_set_aside() -> None:
    samples = noisy_samples(8, 0.01, 21)
    samples[0] = Sample("wild", samples[0].features, samples[0].value * 3, confirmed=True)
    found = fit(samples, TERMS)
    assert "wild" not in found.outliers
    assert found.half_width > 0.5


def test_fit_survives_the_way_through_a_table() -> None:
    found = fit(noisy_samples(8, 0.02, 5), TERMS)
    assert Fit.from_dict(found.to_dict()) == found


def test_fit_survives_a_file_that_sorts_its_keys() -> None:
    found = fit(noisy_samples(8, 0.02, 5), TERMS)
    again = Fit.from_dict(json.loads(json.dumps(found.to_dict(), sort_keys=True)))
    for sample in noisy_samples(5, 0.02, 6):
        assert again.predict(sample.features) == found.predict(sample.features)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prices": {}}, "prices"),
        ({"prices": {"macs": -1.0}}, "negative"),
        ({"half_width": "wide"}, "half_width"),
        ({"coverage": True}, "coverage"),
        ({"outliers": [1]}, "outliers"),
        ({"more": 1}, "more"),
        ({"version": 1}, "version 1"),
        ({"coverage": 1.5}, "coverage"),
        ({"half_width": math.nan}, "half_width"),
        ({"terms": ["macs"]}, "terms"),
        ({"root": [[1.0]]}, "5 lists"),
        ({"root": [[1.0], [1.0, 2.0], [1.0], [1.0], [1.0]]}, "one length"),
        ({"root": [[math.inf]] * 5}, "finite"),
        ({"root": [["1"]] * 5}, "finite"),
        ({"root": 3}, "list of lists"),
    ],
)
def test_damaged_table_is_refused(change: dict[str, object], words: str) -> None:
    table = {**fit(noisy_samples(5, 0.02, 5), TERMS).to_dict(), **change}
    with pytest.raises(RecordError, match=words):
        Fit.from_dict(table)


def test_two_samples_are_too_few() -> None:
    with pytest.raises(MeasureError, match="needs 3"):
        fit(noisy_samples(2, 0.0, 1), TERMS)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_value_is_refused(value: float) -> None:
    samples = [*noisy_samples(3, 0.0, 1), Sample("bad", random_features(random.Random(1)), value)]
    with pytest.raises(MeasureError, match="bad"):
        fit(samples, TERMS)


def test_missing_feature_is_named() -> None:
    samples = [Sample(str(x), {"macs": float(x)}, float(x)) for x in (1, 2, 3)]
    with pytest.raises(MeasureError, match="layers"):
        fit(samples, TERMS)
    with pytest.raises(MeasureError, match="macs"):
        fit(samples, (ONE, "macs")).predict({"layers": 1.0})


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, True, "1"])
def test_impossible_feature_is_named(wrong: object) -> None:
    samples = [Sample(str(x), {"macs": float(x)}, float(x)) for x in (1, 2, 3)]
    samples.append(Sample("bad", {"macs": wrong}, 1.0))  # type: ignore[dict-item]
    with pytest.raises(MeasureError, match="bad: macs"):
        fit(samples, (ONE, "macs"))


@pytest.mark.parametrize("backbone", [[], [{"layers": 1.0}], [{"macs": 0.0}]])
def test_backbone_must_be_made_of_the_terms(backbone: list[dict[str, float]]) -> None:
    samples = [Sample(str(x), {"macs": float(x)}, float(x)) for x in (1, 2, 3)]
    with pytest.raises(ValueError, match="backbone"):
        fit(samples, (ONE, "macs"), backbone)
