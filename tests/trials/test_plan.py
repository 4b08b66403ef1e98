from __future__ import annotations

import pytest

from edgekd.trials.plan import ETA, LEAST_STEPS, POINTS, RESERVE, Pace, Plan, duration_s, planned, widths

PACE = Pace(step_s=0.1, evaluation_s=0.5, start_s=1.0)


@pytest.mark.parametrize(
    ("students", "expected"),
    [
        (2, [2]),
        (3, [3]),
        (4, [4, 2]),
        (6, [6, 2]),
        (9, [9, 3]),
        (10, [10, 4, 2]),
        (27, [27, 9, 3]),
        (28, [28, 10, 4, 2]),
    ],
)
def test_a_third_goes_on_while_two_are_left(students: int, expected: list[int]) -> None:
    assert widths(students) == expected


def test_rungs_are_as_long_as_the_time_allows() -> None:
    paces = {f"s{number}": PACE for number in range(9)}
    plan = planned(paces, 600, 100_000)
    assert plan is not None
    first, last = plan.rungs
    assert last == ETA * first
    assert duration_s(list(paces.values()), first) <= RESERVE * 600
    assert duration_s(list(paces.values()), first + POINTS) > RESERVE * 600
    assert plan.every * POINTS >= first > plan.every * (POINTS - 1)
    assert [plan.width(0), plan.width(1)] == [9, 3]


def test_the_slowest_are_taken_to_survive() -> None:
    quick, slow = PACE, Pace(1.0, 0.5, 1.0)
    first = 40
    whole = duration_s([quick, quick, quick, slow], first)
    by_hand = 4 * 1.0 + (3 * 0.1 + 1.0) * 40 + 4 * 4 * 0.5 + 2 * 1.0 + (1.0 + 0.1) * 80 + 2 * 8 * 0.5
    assert whole == pytest.approx(by_hand)


def test_no_trial_is_longer_than_the_whole_distillation() -> None:
    plan = planned({f"s{number}": PACE for number in range(9)}, 1e9, 900)
    assert plan is not None
    assert plan.rungs == (300, 900)


def test_students_are_left_out_from_the_end_where_time_is_short() -> None:
    paces = {f"s{number}": PACE for number in range(9)}
    plan = planned(paces, 20, 1000)
    assert plan is not None
    assert plan.students == tuple(paces)[: len(plan.students)]
    assert 2 <= len(plan.students) < 9
    assert plan.rungs[0] >= LEAST_STEPS


def test_no_plan_where_two_do_not_fit() -> None:
    assert planned({"a": PACE, "b": PACE}, 5, 1000) is None
    assert planned({"a": PACE, "b": PACE}, -1, 1000) is None
    assert planned({"a": PACE}, 1000, 1000) is None


def test_a_plan_comes_back_from_its_table() -> None:
    plan = Plan(("a", "b"), (8, 24), 2)
    assert Plan.from_dict(plan.to_dict()) == plan
