from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from every import tabled

from edgekd.cost.calibrate import Interval
from edgekd.device import DeviceProfile
from edgekd.sizing.forecast import Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import ALLOWANCE, Measuring, PredictionError
from edgekd.sizing.supply import Everyone
from edgekd.space import Space
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


def test_a_student_likely_to_keep_the_limit_is_measured_though_no_forecast_promises_it(
    make_measuring: Make, make_board: Callable[..., Any]
) -> None:
    for seed in range(5):
        board = make_board(noise=0.004, seed=seed)
        run = make_measuring(board)
        run.calibrate(6)
        run.narrow_down()
        best, table = run.standing.best, run.standing.table
        assert best is not None
        larger = np.flatnonzero(table.capacity >= 1.1 * table.capacity[best]).tolist()
        takes_s = [min(board.true_s(each) for each in table.student(row).candidates) for row in larger]
        assert [value for value in takes_s if value < 0.97 * LIMIT.value] == []


def test_a_measurement_that_does_not_decide_is_made_once_more(make_measuring: Make) -> None:
    asked: list[str] = []

    def measure(candidates: Any) -> dict[str, Measurement]:
        found = {}
        for each in candidates:
            again = each.name in asked
            asked.append(each.name)
            # The deepest ones are within the limit, which only a second measurement can tell.
            latency_s, share = (4.99e-3, 0.001 if again else 0.05) if each.spec.layers == 6 else (1e-3, 0.01)
            found[each.name] = Measurement(latency_s, 0.0, latency_s * (1 - share), latency_s * (1 + share))
        return found

    run = make_measuring(measure, number=1)
    run._add(
        [run.standing.table.student(row) for row in run.standing.table.leading(run.standing.table.capacity > 0, 1)]
    )
    run._add([run.standing.table.student(0)])
    assert run.standing.best == 0
    run._settle()
    assert run.standing.best != 0
    assert all(asked.count(name) == (2 if name.startswith("L6") else 1) for name in asked)
    assert {name.rpartition("-")[0] for name in run.repeated} == {run.standing.table.name(run.standing.best)}
