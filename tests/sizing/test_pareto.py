from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.sizing.pareto import Point, pareto_set


def dominates(one: Point, other: Point) -> bool:
    no_worse = one[0] <= other[0] and one[1] <= other[1] and one[2] >= other[2]
    return no_worse and one != other


def by_brute_force(points: list[Point]) -> list[int]:
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


coarse = st.tuples(*[st.integers(0, 6).map(float)] * 3)
fine = st.tuples(*[st.floats(0, 1, allow_nan=False)] * 3)


@settings(max_examples=300, deadline=None)
@given(st.lists(coarse, max_size=60))
def test_set_equals_brute_force_with_many_ties(points: list[Point]) -> None:
    assert pareto_set(points) == by_brute_force(points)


@settings(max_examples=100, deadline=None)
@given(st.lists(fine, max_size=80))
def test_set_equals_brute_force_on_random_points(points: list[Point]) -> None:
    assert pareto_set(points) == by_brute_force(points)


def test_equal_points_all_stay() -> None:
    assert pareto_set([(1.0, 1.0, 5.0), (2.0, 2.0, 5.0), (1.0, 1.0, 5.0)]) == [0, 2]


def test_larger_capacity_excuses_a_longer_latency() -> None:
    assert pareto_set([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.0, 3.0, 1.5)]) == [0, 1]


def test_no_points_have_no_front() -> None:
    assert pareto_set([]) == []
