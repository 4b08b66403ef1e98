from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.forecast import Fits, Measurement, fitted, forecasts, measured_costs, usual_spread
from edgekd.sizing.price import PricedStudent, Setting, priced
from edgekd.sizing.space import enumerate_students
from edgekd.student import Candidate, StudentSpec

SPACE = Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn_ratio=[2.0])


@pytest.fixture
def students(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> list[PricedStudent]:
    profile = make_profile(peak="10 GMAC/s")
    return priced(enumerate_students(SPACE, teacher).students, teacher, profile, Setting(("fp32", "int8"), 1, 64, 1))


def test_each_precision_has_prices_of_its_own(students: list[PricedStudent], make_board: Callable[..., Any]) -> None:
    board = make_board(noise=0.0)
    found = fitted(students, board([c for s in students for c in s.candidates]), ["fp32", "int8"])
    for student in students:
        for candidate in student.candidates:
            interval = forecasts([student], found)[candidate.name].latency
            assert interval is not None
            assert interval.mid == pytest.approx(board.true_s(candidate), rel=0.03)


def test_memory_and_size_are_corrected_by_what_was_measured(
    students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    board = make_board(noise=0.0)
    some = [candidate for student in students[::2] for candidate in student.candidates]
    found = forecasts(students, fitted(students, board(some), ["fp32", "int8"]))
    for student in students:
        name = f"{student.name}-fp32"
        truth = board.true_memory_bytes(Candidate(student.spec))
        assert found[name].memory.low <= truth <= found[name].memory.high
        weights = student.prices["fp32"].counts.weight_bytes
        assert found[name].size.mid == pytest.approx(weights + 30_000 * student.spec.layers, rel=0.02)


def test_without_measurements_the_forecast_is_the_roofline_and_the_estimate(students: list[PricedStudent]) -> None:
    student = students[0]
    found = forecasts([student], {"fp32": Fits(), "int8": Fits()})[f"{student.name}-fp32"]
    price = student.prices["fp32"]
    assert found.latency is not None
    assert (found.latency.low, found.latency.high) == (price.roofline.low_s, price.roofline.high_s)
    assert found.memory.low < found.memory.mid == price.memory_bytes < found.memory.high
    assert found.size.mid == price.counts.weight_bytes


def test_two_measured_students_are_too_few_for_a_fit(
    students: list[PricedStudent], make_board: Callable[..., Any]
) -> None:
    found = fitted(students, make_board()(students[0].candidates + students[1].candidates), ["fp32", "int8"])
    assert found == {"fp32": Fits(), "int8": Fits()}


def test_what_was_not_measured_is_taken_from_the_forecast(students: list[PricedStudent]) -> None:
    forecast = forecasts(students[:1], {"fp32": Fits(), "int8": Fits()})[f"{students[0].name}-fp32"]
    costs = measured_costs(Measurement(1.0, 0.1, 0.9, 1.1), forecast, 0.2)
    assert (costs.latency_s, costs.spread) == (1.1, 0.2)
    assert (costs.memory_bytes, costs.size_bytes) == (forecast.memory.high, forecast.size.high)
    costs = measured_costs(Measurement(1.0, 0.1, 0.9, 1.1, 7, 5), forecast, 0.2)
    assert (costs.memory_bytes, costs.size_bytes) == (7, 5)


def test_usual_spread_is_the_median_one() -> None:
    spreads = {str(spread): Measurement(1.0, spread, 0.9, 1.1) for spread in (0.01, 0.02, 0.9)}
    assert usual_spread(spreads) == 0.02
    assert usual_spread({}) == 0.0
