"""Of all students those that stand where the next attempt should, or nearest to it."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.sizing.aim import aimed_at
from edgekd.sizing.attempts import Aim

RATIOS = np.array([0.3, 0.55, 0.58, 0.7, 0.86, 0.93, 1.2, np.nan])
ALL = np.ones(len(RATIOS), np.bool_)


def aim(least: float, most: float, low: float = 0.0, high: float = 1.0) -> Aim:
    return Aim(direction="larger", least=least, most=most, low=low, high=high, above=None, after="x")


def rows(found: object) -> list[int]:
    return np.flatnonzero(found).tolist()


def test_those_within_the_band_are_taken() -> None:
    assert rows(aimed_at(RATIOS, ALL, aim(0.54, 0.6))) == [1, 2]
    assert rows(aimed_at(RATIOS, ALL, aim(0.8, 0.9))) == [4]


def test_where_nobody_is_within_the_nearest_are_and_none_beyond_the_ends() -> None:
    assert rows(aimed_at(RATIOS, ALL, aim(0.6, 0.62))) == [2]
    assert rows(aimed_at(RATIOS, ALL, aim(0.75, 0.8))) == [3, 4]
    assert rows(aimed_at(RATIOS, ALL, aim(0.6, 0.65, low=0.6))) == [3]
    assert rows(aimed_at(RATIOS, ALL, aim(0.95, 1.0, low=0.95))) == []


def test_of_what_hardly_scatters_all_that_keep_the_limit_are_taken_where_nobody_is_within() -> None:
    exact = aim(0.75, 0.8).model_copy(update={"exact": True})
    assert rows(aimed_at(RATIOS, ALL, exact)) == [0, 1, 2, 3, 4, 5]
    assert rows(aimed_at(RATIOS, ALL, exact.model_copy(update={"most": 0.9}))) == [4]


def test_only_those_that_are_wanted_count() -> None:
    wanted = ALL.copy()
    wanted[1:3] = False
    assert rows(aimed_at(RATIOS, wanted, aim(0.54, 0.6))) == [3]


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_a_student_that_takes_nothing_is_at_the_lower_end(least: float) -> None:
    assert rows(aimed_at(np.array([0.0, 0.5]), np.ones(2, np.bool_), aim(least, 0.2))) == ([0] if not least else [1])
