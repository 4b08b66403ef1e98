from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.sizing import pareto
from edgekd.sizing.pareto import Point, Staircase, pareto_set


def front_of(points: list[Point]) -> list[int]:
    columns = np.array(points, np.float64).reshape(-1, 3).T
    return pareto_set(*columns).tolist()


def dominates(one: Point, other: Point) -> bool:
    no_worse = one[0] <= other[0] and one[1] <= other[1] and one[2] >= other[2]
    return no_worse and one != other


def by_brute_force(points: list[Point]) -> list[int]:
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


coarse = st.tuples(*[st.integers(0, 6).map(float)] * 3)
fine = st.tuples(*[st.floats(0, 1, allow_nan=False)] * 3)


@settings(max_examples=300, deadline=None)
@given(st.lists(coarse, max_size=60), st.sampled_from([1, 3, 16, 4096]))
def test_set_equals_brute_force_with_many_ties(points: list[Point], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "BLOCK", block)
        assert front_of(points) == by_brute_force(points)


@settings(max_examples=100, deadline=None)
@given(st.lists(fine, max_size=80), st.sampled_from([1, 5, 4096]))
def test_set_equals_brute_force_on_random_points(points: list[Point], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "BLOCK", block)
        assert front_of(points) == by_brute_force(points)


@pytest.mark.parametrize("shape", ["all on the front", "one beats all", "one line", "one capacity", "twice each"])
def test_set_equals_brute_force_on_awkward_points(shape: str) -> None:
    draw = np.random.default_rng(7)
    steps = np.arange(300.0)
    points = {
        "all on the front": np.stack([steps, steps[::-1], draw.permutation(steps)], axis=1),
        "one beats all": np.stack([steps, steps, -steps], axis=1),
        "one line": np.stack([steps, steps, steps], axis=1),
        "one capacity": np.stack([draw.permutation(steps), draw.permutation(steps), 0 * steps], axis=1),
        "twice each": np.repeat(draw.integers(0, 9, (150, 3)).astype(float), 2, axis=0),
    }[shape]
    listed = [(float(a), float(b), float(c)) for a, b, c in draw.permutation(points)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "BLOCK", 32)
        assert front_of(listed) == by_brute_force(listed)


def test_equal_points_all_stay() -> None:
    assert front_of([(1.0, 1.0, 5.0), (2.0, 2.0, 5.0), (1.0, 1.0, 5.0)]) == [0, 2]


def test_larger_capacity_excuses_a_longer_latency() -> None:
    assert front_of([(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.0, 3.0, 1.5)]) == [0, 1]


def test_no_points_have_no_front() -> None:
    assert front_of([]) == []


def test_a_staircase_beats_what_is_worse_in_one_and_better_in_none() -> None:
    stairs = Staircase()
    assert not stairs.beats(np.array([1.0]), np.array([1.0])).any()
    stairs.add(np.array([3.0, 1.0, 2.0]), np.array([1.0, 3.0, 9.0]))
    assert (stairs.latencies.tolist(), stairs.memories.tolist()) == ([1.0, 3.0], [3.0, 1.0])
    asked = np.array([(0.5, 9.0), (1.0, 3.0), (1.0, 3.1), (2.0, 2.9), (3.0, 1.0), (4.0, 1.0), (9.0, 0.9)]).T
    assert stairs.beats(*asked).tolist() == [False, False, True, False, False, True, False]
