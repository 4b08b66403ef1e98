from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from every import everyone, tabled

from edgekd.cost.tails import TAILS
from edgekd.device import DeviceProfile
from edgekd.errors import MeasureError
from edgekd.sizing.forecast import Fits, Measurement, fitted, forecasts, measured_costs, usual_spread
from edgekd.sizing.limits import Costs
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.table import Table
from edgekd.space import Space
from edgekd.student import Candidate, StudentSpec

SPACE = Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn_ratio=[2.0])


PRECISIONS = ("fp32", "int8")
NO_FITS = {precision: Fits() for precision in PRECISIONS}


@pytest.fixture
def table(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Table:
    return tabled(SPACE, teacher, make_profile(peak="10 GMAC/s"), PRECISIONS)


@pytest.fixture
def students(table: Table) -> list[PricedStudent]:
    return everyone(table)


def test_each_precision_has_prices_of_its_own(
    table: Table, students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.0)
    found = forecasts(table, fitted(students, board([c for s in students for c in s.candidates]), PRECISIONS))
    for row, student in enumerate(students):
        for candidate in student.candidates:
            assert found[candidate.precision].latency.mid[row] == pytest.approx(board.true_s(candidate), rel=0.03)


def test_a_forecast_is_what_the_fit_predicts_for_that_student(
    table: Table, students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    fits = fitted(students, make_board()([c for s in students for c in s.candidates]), PRECISIONS)
    found = forecasts(table, fits)
    for precision in PRECISIONS:
        fit = fits[precision].latency
        assert fit is not None
        for row, student in enumerate(students):
            alone = fit.predict(student.features[precision])
            ends = found[precision].latency
            assert [ends.low[row], ends.mid[row], ends.high[row]] == pytest.approx([alone.low, alone.mid, alone.high])


def test_memory_and_size_are_corrected_by_what_was_measured(
    table: Table, students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.0)
    some = [candidate for student in students[::2] for candidate in student.candidates]
    found = forecasts(table, fitted(students, board(some), PRECISIONS))["fp32"]
    for row, student in enumerate(students):
        truth = board.true_memory_bytes(Candidate(student.spec))
        assert found.memory.low[row] <= truth <= found.memory.high[row]
        weights = student.prices["fp32"].counts.weight_bytes
        assert found.size.mid[row] == pytest.approx(weights + 30_000 * student.spec.layers, rel=0.02)


def test_without_measurements_the_forecast_is_the_roofline_and_the_estimate(
    table: Table, students: list[PricedStudent]
) -> None:
    found, price = forecasts(table, NO_FITS)["fp32"], students[0].prices["fp32"]
    assert (found.latency.low[0], found.latency.high[0]) == (price.roofline.low_s, price.roofline.high_s)
    assert found.memory.low[0] < found.memory.mid[0] == price.memory_bytes < found.memory.high[0]
    assert found.size.mid[0] == price.counts.weight_bytes


def test_without_a_peak_no_latency_is_known(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    found = forecasts(tabled(SPACE, teacher, make_profile()), {"fp32": Fits()})["fp32"]
    assert np.isnan(found.latency.mid).all()
    assert found.costs(0, "high", 0.1).latency_s is None
    assert found.costs(0, "high", 0.1).memory_bytes == found.memory.high[0]


def test_two_measured_students_are_too_few_for_a_fit(
    students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    found = fitted(students, make_board()(students[0].candidates + students[1].candidates), ["fp32", "int8"])
    assert found == {"fp32": Fits(), "int8": Fits()}


def test_what_was_not_measured_is_taken_from_the_forecast() -> None:
    forecast = Costs(2.0, 30.0, 20.0, 0.2)
    assert measured_costs(Measurement(1.0, 0.1, 0.9, 1.1), forecast, "upper") == Costs(1.1, 30.0, 20.0, 0.2)
    assert measured_costs(Measurement(1.0, 0.1, 0.9, 1.1, 7, 5), forecast, "upper") == Costs(1.1, 7, 5, 0.2)


def test_of_a_measured_latency_the_middle_is_compared_when_that_is_asked_for() -> None:
    assert measured_costs(Measurement(1.0, 0.1, 0.9, 1.1), Costs(2.0, 3.0, 4.0), "middle").latency_s == 1.0


def test_energy_follows_from_the_rails_else_from_a_budget_else_it_is_unknown(
    table: Table,
    students: list[PricedStudent],
    make_board: Callable[..., Any],
    teacher: StudentSpec,
    make_profile: Callable[..., DeviceProfile],
) -> None:
    board = make_board(noise=0.0, watts=4.0)
    some = [candidate for student in students[::2] for candidate in student.candidates]
    found = forecasts(table, fitted(students, board(some), PRECISIONS))["fp32"]
    assert found.energy is not None
    for row, student in enumerate(students):
        assert found.energy.low[row] <= board.true_j(Candidate(student.spec)) <= found.energy.high[row]
        assert found.energy.high[row] < 2 * found.energy.low[row]
    assert forecasts(table, NO_FITS)["fp32"].energy is None
    assert forecasts(table, NO_FITS)["fp32"].costs(0, "high", 0.1).energy_j is None
    limited = tabled(SPACE, teacher, make_profile(peak="10 GMAC/s", budget="10 W"))
    by_budget = forecasts(limited, {"fp32": Fits()})["fp32"]
    assert by_budget.energy is not None
    assert by_budget.energy.high == pytest.approx(10 * by_budget.latency.high)
    assert by_budget.energy.low == pytest.approx(by_budget.latency.low)
    without_peak = forecasts(tabled(SPACE, teacher, make_profile(budget="10 W")), {"fp32": Fits()})["fp32"]
    assert without_peak.costs(0, "high", 0.1).energy_j is None


def test_a_known_fit_of_energy_is_carried_over_by_what_is_measured_now(
    students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    def measured(watts: float | None, every: int) -> Any:
        some = [candidate for student in students[::every] for candidate in student.candidates]
        return make_board(noise=0.0, watts=watts)(some)

    known = fitted(students, measured(4.0, 1), PRECISIONS)
    kept = fitted(students, measured(None, 4), PRECISIONS, known=known)["fp32"].energy
    assert kept == known["fp32"].energy
    twice = {
        name: replace(found, **{key: 2 * getattr(found, key) for key in ("energy_j", "energy_low_j", "energy_high_j")})
        for name, found in measured(4.0, 4).items()
    }
    carried = fitted(students, twice, PRECISIONS, known=known)["fp32"].energy
    assert carried is not None
    assert kept is not None
    for term, price in kept.prices.items():
        assert carried.prices[term] == pytest.approx(2 * price, rel=0.02)


def test_a_measured_energy_takes_the_place_of_the_forecast_and_cannot_be_nonsense() -> None:
    found = Measurement(1.0, 0.1, 0.9, 1.1, energy_j=0.5, energy_low_j=0.4, energy_high_j=0.6, rail="VDD_IN")
    forecast = Costs(2.0, 30.0, 20.0, 0.2, energy_j=0.9)
    assert measured_costs(found, forecast, "upper").energy_j == 0.6
    assert measured_costs(found, forecast, "middle").energy_j == 0.5
    assert measured_costs(Measurement(1.0, 0.1, 0.9, 1.1), forecast, "upper").energy_j == 0.9
    with pytest.raises(MeasureError, match="energy of"):
        replace(found, energy_low_j=0.7)


def test_usual_spread_is_the_median_one() -> None:
    spreads = {str(spread): Measurement(1.0, spread, 0.9, 1.1) for spread in (0.01, 0.02, 0.9)}
    assert usual_spread(spreads) == 0.02
    assert usual_spread({}) == 0.0


def test_four_bits_are_fitted_with_their_tails(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    space = Space(layers=[1, 2, 4], hidden=[64, 96, 128, 224, 256, 352], ffn=[256, 320, 1024])
    table = tabled(space, teacher, make_profile(peak="10 GMAC/s"), ("fp32", "int4"))
    students = everyone(table)

    def slow(student: PricedStudent) -> Measurement:
        features = student.features["int4"]
        seconds = 1e-4 + features["macs"] / 5e10 + features[TAILS] / 2e10
        return Measurement(seconds, 0.03, seconds * 0.99, seconds * 1.01)

    measured = {Candidate(one.spec, "int4", one.sequence).name: slow(one) for one in students[::3]}
    fits = fitted(students, measured, ("fp32", "int4"))
    fit = fits["int4"].latency
    assert fit is not None
    assert fit.prices[TAILS] == pytest.approx(1 / 2e10, rel=0.2)
    found = forecasts(table, fits)["int4"].latency.mid
    for row, student in enumerate(students):
        assert found[row] == pytest.approx(slow(student).latency_s, rel=0.03)
