from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from edgekd.cost.calibrate import Interval
from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.choice import Standing, first_finalists, keeps, next_finalists, reason_text
from edgekd.sizing.forecast import Forecast, Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.price import PricedStudent, Setting, priced
from edgekd.sizing.space import enumerate_students
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 1.0)
Make = Callable[..., Standing]


@pytest.fixture
def six(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> list[PricedStudent]:
    """Six students of 1 to 6 layers; the deeper, the more capable."""
    specs = enumerate_students(Space(layers=[1, 2, 3, 4, 5, 6]), teacher).students
    return priced(specs, teacher, make_profile(), Setting(("fp32",), 1, 64, 1))


@pytest.fixture
def make_standing(six: list[PricedStudent]) -> Make:
    def make(
        latencies_s: list[float], *, factor: float = 1.2, measured_s: Mapping[int, float] | None = None
    ) -> Standing:
        flat = Interval(1.0, 1.0, 1.0)
        expected = {
            f"{student.name}-fp32": Forecast(Interval(mid / factor, mid, mid * factor), flat, flat)
            for student, mid in zip(six, latencies_s, strict=True)
        }
        taken = {
            f"{six[layers - 1].name}-fp32": Measurement(value, 0.0, value, value)
            for layers, value in (measured_s or {}).items()
        }
        return Standing(six, [LIMIT], expected, taken)

    return make


def layers_of(students: list[PricedStudent]) -> list[int]:
    return [student.spec.layers for student in students]


def test_feasible_students_keep_the_limit_with_the_upper_end(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2])
    assert layers_of(standing.feasible) == [4, 3, 2, 1]


def test_measured_value_replaces_the_forecast(make_standing: Make) -> None:
    standing = make_standing([0.2, 0.4, 0.6, 0.8, 0.9, 1.2], measured_s={4: 1.1, 5: 0.99})
    assert layers_of(standing.feasible) == [5, 3, 2, 1]
    assert standing.best is not None
    assert standing.best.spec.layers == 5


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


def test_pareto_set_leaves_out_what_is_slower_and_less_capable(make_standing: Make, six: list[PricedStudent]) -> None:
    standing = make_standing([0.3, 0.2, 0.6, 0.8, 0.7, 1.2])
    assert standing.pareto == [f"{six[index].name}-fp32" for index in (1, 2, 4, 5)]


def test_unknown_ratio_does_not_keep_a_limit() -> None:
    assert not keeps(None)
    assert keeps(1.0)
    assert not keeps(1.001)


def test_reason_names_the_limits_and_no_measured_number(six: list[PricedStudent]) -> None:
    assert reason_text(six[0], [LIMIT]).endswith("of the students that keep p50 within 1.00 s")
