from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from every import tabled

from edgekd.cost.calibrate import Interval
from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.forecast import Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import ALLOWANCE, Measuring, PredictionError
from edgekd.sizing.supply import Everyone
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 5e-3)
Make = Callable[..., Measuring]


@pytest.fixture
def make_measuring(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Make:
    def make(measure: Any, number: int = 2) -> Measuring:
        space = Space(layers=[1, 2, 3, 4, 5, 6], hidden=[64, 128, 192, 256, 320, 384], ffn_ratio=[2.0, 4.0])
        table = tabled(space, teacher, make_profile(), ("fp32", "int8"))
        return Measuring(Everyone(table, {}, []), [LIMIT], ("fp32", "int8"), measure, "upper", number)

    return make


def test_finalists_are_predicted_before_they_are_measured(make_measuring: Make, make_board: Callable[..., Any]) -> None:
    run = make_measuring(make_board(noise=0.01))
    run.calibrate(6)
    before = run.standing
    assert run.error is None
    run.narrow_down()
    new = set(run.finalists) - set(run.calibrated)
    assert set(run.predicted) == {f"{name}-{precision}" for name in new for precision in ("fp32", "int8")}
    first = run.finalists[0]
    row = next(row for row in range(len(before.table)) if before.table.name(row) == first)
    assert run.predicted[f"{first}-int8"].mid == before.forecasts["int8"].latency.mid[row]


def test_the_error_is_that_of_the_middle_and_counts_what_the_interval_held(make_measuring: Make) -> None:
    run = make_measuring(None)
    run.predicted = {name: Interval(0.9, 1.0, 1.1) for name in ("a", "b", "c")}
    run.measurements = {
        name: Measurement(value, 0.0, value, value) for name, value in {"a": 1.02, "b": 0.8, "c": 1.1, "d": 9.0}.items()
    }
    assert run.error == PredictionError(3, 2, pytest.approx(0.1), pytest.approx(0.2))


def test_what_was_measured_changes_the_fit_and_the_standing(
    make_measuring: Make, make_board: Callable[..., Any]
) -> None:
    run = make_measuring(make_board(noise=0.05))
    empty = run.standing
    run.calibrate(6)
    calibrated = run.fits["fp32"].latency
    assert calibrated is not None
    assert run.standing is not empty
    run.narrow_down()
    again = run.fits["fp32"].latency
    assert again is not None
    assert again.samples + len(again.outliers) == len(set(run.calibrated) | set(run.finalists))
    assert again != calibrated


def test_no_more_is_measured_than_allowed(make_measuring: Make, make_board: Callable[..., Any]) -> None:
    run = make_measuring(make_board(noise=0.3, seed=1), number=1)
    run.calibrate(4)
    run.narrow_down()
    assert len(run.finalists) <= ALLOWANCE
