from __future__ import annotations

import math

import numpy as np
import pytest

from edgekd.cost.calibrate import ONE, Fit, Sample, fit
from edgekd.cost.carry import rescaled
from edgekd.errors import MeasureError

TERMS = (ONE, "work", "layers")


def students(seed: int, number: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    return [{"layers": float(rng.integers(1, 9)), "work": float(rng.lognormal(0, 1))} for _ in range(number)]


def samples(seed: int, number: int, *, factor: float = 1.0, differ: float = 0.0) -> list[Sample]:
    """Measured on a board that is `factor` times as slow, and where students differ by `differ` besides."""
    rng = np.random.default_rng(1000 + seed)
    return [
        Sample(
            f"s{index}", one, factor * (1 + one["layers"] + 2 * one["work"]) * math.exp(rng.normal(0, 0.02 + differ))
        )
        for index, one in enumerate(students(seed, number))
    ]


@pytest.fixture(scope="module")
def here() -> Fit:
    return fit(samples(1, 20), TERMS)


@pytest.mark.parametrize("anchors", [1, 3, 5])
def test_common_factor_is_found(here: Fit, anchors: int) -> None:
    there = rescaled(here, samples(2, anchors, factor=7.0))
    for one in students(3, 20):
        assert there.predict(one).mid == pytest.approx(7 * here.predict(one).mid, rel=0.06)


def test_one_wild_anchor_of_three_does_not_move_the_factor_but_widens_the_interval(here: Fit) -> None:
    calm = samples(2, 3, factor=2.0)
    wild = [*calm[:2], Sample("wild", calm[2].features, calm[2].value * 4)]
    one = students(3, 1)[0]
    assert rescaled(here, wild).predict(one).mid == pytest.approx(2 * here.predict(one).mid, rel=0.06)
    assert rescaled(here, wild).half_width > 3 * rescaled(here, calm).half_width


def test_interval_is_wider_than_at_home_and_narrows_with_anchors_that_agree(here: Fit) -> None:
    widths = [rescaled(here, samples(2, number)).half_width for number in (1, 2, 3, 5, 20)]
    assert widths == sorted(widths, reverse=True)
    assert here.half_width < widths[-1]


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("differ", [0.02, 0.06])
def test_carried_interval_holds_what_it_promises(number: int, differ: float) -> None:
    inside = []
    for seed in range(60):
        there = rescaled(fit(samples(seed, 20), TERMS), samples(500 + seed, number, factor=3.0, differ=differ))
        for sample in samples(900 + seed, 30, factor=3.0, differ=differ):
            interval = there.predict(sample.features)
            inside.append(interval.low <= sample.value <= interval.high)
    assert np.mean(inside) > 0.85


def test_leverage_is_carried_over_too(here: Fit) -> None:
    there = rescaled(here, samples(2, 3, factor=5.0))
    far = {"layers": 500.0, "work": 0.0}
    near = students(1, 20)[0]

    def stretch(fitted: Fit, one: dict[str, float]) -> float:
        interval = fitted.predict(one)
        return math.log(interval.high / interval.mid) / fitted.half_width

    assert stretch(there, far) == pytest.approx(stretch(here, far), rel=1e-6)
    assert stretch(there, far) > stretch(there, near)


def test_carried_fit_survives_the_way_through_a_table(here: Fit) -> None:
    there = rescaled(here, samples(2, 1, factor=5.0))
    assert Fit.from_dict(there.to_dict()) == there


def test_impossible_anchors_are_refused(here: Fit) -> None:
    with pytest.raises(MeasureError, match="no anchor"):
        rescaled(here, [])
    with pytest.raises(MeasureError, match="bad"):
        rescaled(here, [Sample("bad", {"layers": 1.0, "work": 1.0}, math.nan)])
    with pytest.raises(MeasureError, match="work"):
        rescaled(here, [Sample("short", {"layers": 1.0}, 1.0)])
    with pytest.raises(MeasureError, match="cannot be an anchor"):
        rescaled(Fit({"work": 1.0}, 0.1, 0.9, 3), [Sample("nothing", {"work": 0.0}, 1.0)])
