from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from every import everyone, tabled

from edgekd.device import DeviceProfile
from edgekd.sizing.choice import (
    Compare,
    Standing,
    contenders,
    first_finalists,
    next_finalists,
    reason_text,
    undecided,
    worst_ratios,
)
from edgekd.sizing.forecast import Forecasts, Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.table import Ends, Table
from edgekd.space import Space
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 1.0)
P95 = Limit("latency.p95", "latency_s", 0.010, 0.95)
MEMORY = Limit("memory", "memory_bytes", 100.0)
Make = Callable[..., Standing]


@pytest.fixture
def six(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Table:
    """Six students of 1 to 6 layers; the deeper, the more capable."""
    return tabled(Space(layers=[1, 2, 3, 4, 5, 6]), teacher, make_profile())


def same(value: float, number: int = 6) -> Ends:
    return Ends(*[np.full(number, value)] * 3)


@pytest.fixture
def make_standing(six: Table) -> Make:
    def make(
        latencies_s: list[float],
        *,
        factor: float = 1.2,
        measured_s: Mapping[int, float] | None = None,
        compare: Compare = "upper",
    ) -> Standing:
        mid = np.array(latencies_s)
        expected = {"fp32": Forecasts(Ends(mid / factor, mid, mid * factor), same(1.0), same(1.0))}
        touched = [student for student in everyone(six) if student.spec.layers in (measured_s or {})]
        taken = {
            f"{student.name}-fp32": Measurement(value, 0.0, value, value * 1.01)
            for student in touched
            for value in [(measured_s or {})[student.spec.layers]]
        }
        return Standing(six, [LIMIT], expected, touched, taken, compare)

    return make


def layers_of(rows: Iterable[int]) -> list[int]:
    return [int(row) + 1 for row in rows]


def feasible_layers(standing: Standing) -> list[int]:
    return layers_of(standing.table.leading(standing.feasible, 9))


def test_feasible_students_keep_the_limit_with_the_upper_end(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2])
    assert feasible_layers(standing) == [4, 3, 2, 1]


def test_measured_value_replaces_the_forecast(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2], measured_s={4: 1.1, 5: 0.99})
    assert feasible_layers(standing) == [5, 3, 2, 1]
    assert standing.best is not None
    assert layers_of([standing.best]) == [5]


def test_first_finalists_are_the_most_capable_feasible_ones_and_their_neighbours(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2])
    assert layers_of(first_finalists(standing, 2)) == [5, 4, 3, 2]


def test_student_that_may_fit_is_tried_beside_a_best_one_already_measured(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2], measured_s={4: 0.8})
    assert layers_of(first_finalists(standing, 2)) == [5]


def test_without_a_feasible_student_there_are_no_first_finalists(make_standing: Make) -> None:
    assert first_finalists(make_standing([1.1] * 6), 3) == []


def test_next_finalists_come_nearest_to_the_limit_and_are_not_ruled_out(make_standing: Make) -> None:
    standing = make_standing([0.9, 1.0, 1.1, 1.15, 1.3, 1.5], measured_s={1: 1.05})
    assert layers_of(next_finalists(standing, 2)) == [2, 3]
    assert layers_of(next_finalists(standing, 9)) == [2, 3, 4]


def test_search_goes_on_only_with_more_capable_feasible_students(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.5, 0.6, 0.7, 1.2], measured_s={3: 0.5})
    assert layers_of(next_finalists(standing, 9)) == [5, 4]
    assert next_finalists(make_standing([0.2, 0.4, 0.5, 0.6, 0.7, 1.2], measured_s={5: 0.7}), 9) == []


def test_contenders_are_above_the_best_and_likely_to_be_found_within_the_limit(make_standing: Make) -> None:
    # The forecasts' upper ends are a tenth above, a measurement's a hundredth.
    standing = make_standing([0.2, 0.4, 0.6, 0.95, 0.98, 0.995], measured_s={3: 0.6})
    assert feasible_layers(standing) == [3, 2, 1]
    assert layers_of(contenders(standing, 9)) == [5, 4]
    assert layers_of(contenders(standing, 1)) == [5]
    assert contenders(make_standing([0.2, 0.4, 0.6, 0.95, 0.98, 0.995]), 9) == []


def test_what_was_measured_within_by_its_middle_alone_is_undecided(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.7, 0.8, 1.2], measured_s={2: 0.4, 3: 0.995, 4: 1.01, 5: 0.997})
    assert standing.best is not None
    assert layers_of([standing.best]) == [2]
    assert layers_of(undecided(standing, 9)) == [5, 3]
    assert undecided(make_standing([0.2] * 6, measured_s={3: 0.995}), 9) == []


def test_pareto_set_leaves_out_what_is_slower_and_less_capable(make_standing: Make, six: Table) -> None:
    standing = make_standing([0.3, 0.2, 0.6, 0.8, 0.7, 1.2])
    assert standing.pareto == [f"{six.name(row)}-fp32" for row in (1, 2, 4, 5)]


def test_a_measured_latency_moves_a_student_off_the_front(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.3, 0.6, 0.8, 0.9, 1.2], measured_s={2: 0.7})
    assert layers_of(row for row, _ in standing.front) == [1, 3, 4, 5, 6]


def test_the_middle_is_compared_when_that_is_asked_for(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2], measured_s={4: 0.995}, compare="middle")
    assert feasible_layers(standing) == [5, 4, 3, 2, 1]
    upper = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2], measured_s={4: 0.995})
    assert feasible_layers(upper) == [3, 2, 1]


def test_worst_ratio_is_that_of_the_limit_missed_most() -> None:
    forecast = Forecasts(same(0.005, 1), same(150.0, 1), same(1.0, 1))
    assert worst_ratios(forecast, [P95, MEMORY], "high", 0.0) == [1.5]
    assert worst_ratios(forecast, [P95], "high", 0.0) == [pytest.approx(0.541, abs=1e-3)]
    assert worst_ratios(forecast, [], "high", 0.0) == [0.0]


def test_unknown_value_leaves_the_ratio_open_unless_another_limit_is_missed() -> None:
    memory = Ends(*[np.array([50.0, 150.0])] * 3)
    ratios = worst_ratios(Forecasts(same(math.nan, 2), memory, memory), [P95, MEMORY], "high", 0.0)
    assert np.isnan(ratios[0])
    assert ratios[1] == 1.5


def test_of_several_lengths_of_input_the_longest_that_fits_comes_first(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[1, 2, 3], sequence=[16, 32]), teacher, make_profile())
    mid = np.array([0.1, 0.2, 0.3, 0.6, 1.1, 1.6])
    standing = Standing(table, [LIMIT], {"fp32": Forecasts(Ends(mid, mid, mid), same(1.0), same(1.0))}, [], {})
    assert [table.name(row) for row in table.leading(standing.feasible, 3)] == [
        "L1-H384-A12-F1536-S32",
        "L3-H384-A12-F1536-S16",
        "L2-H384-A12-F1536-S16",
    ]
    assert [row for row, _ in standing.front] == [0, 1, 2, 3, 4, 5]


def test_a_longer_input_that_costs_no_more_takes_a_shorter_one_off_the_front(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[1, 2], sequence=[16, 32]), teacher, make_profile())
    mid = np.array([0.9, 0.8, 0.5, 0.8])
    standing = Standing(table, [LIMIT], {"fp32": Forecasts(Ends(mid, mid, mid), same(1.0, 4), same(1.0, 4))}, [], {})
    assert [row for row, _ in standing.front] == [1, 2, 3]


def test_reason_names_the_limits_and_no_measured_number(six: Table) -> None:
    assert reason_text(six.student(0), [LIMIT]).endswith("of the students that keep p50 within 1.00 s")
