from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from every import tabled

from edgekd.device import DeviceProfile
from edgekd.sizing.quality import Tried, best_tried, standard_error, worse
from edgekd.sizing.table import Table
from edgekd.space import Space
from edgekd.student import StudentSpec

RNG = np.random.default_rng(3)
COMMON = RNG.gamma(0.3, 2.0, 400)  # what every student finds hard


def tried(mean: float, *, rung: int | None = 1, noise: float = 0.05, seed: int = 0) -> Tried:
    scatter = np.random.default_rng(seed).normal(0, noise, len(COMMON))
    losses = COMMON - COMMON.mean() + mean + scatter - scatter.mean()
    return Tried(rung, 100, 1.0, mean, 0.9, "finished", (), losses)


@pytest.fixture
def six(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Table:
    """Six students of 1 to 6 layers; the deeper, the more capable."""
    return tabled(Space(layers=[1, 2, 3, 4, 5, 6]), teacher, make_profile())


def test_losses_are_compared_example_by_example() -> None:
    one, other = tried(0.50, seed=1).losses, tried(0.52, seed=2).losses
    assert worse(other, one)
    assert not worse(one, other)
    unpaired = math.hypot(one.std(), other.std()) / math.sqrt(len(one))
    assert unpaired > 0.02, "apart only because they are paired"
    assert not worse(tried(0.501, seed=2).losses, one)


def test_one_example_tells_nothing() -> None:
    assert standard_error(np.ones(1), np.zeros(1)) == math.inf
    assert not worse(np.ones(1), np.zeros(1))


def test_the_lowest_loss_wins_where_it_is_told_apart(six: Table) -> None:
    assert best_tried({5: tried(0.6, seed=1), 2: tried(0.5, seed=2), 3: tried(0.7, seed=3)}, six) == (2, True)


def test_capacity_decides_among_those_that_are_not_told_apart(six: Table) -> None:
    found = {5: tried(0.501, seed=1), 2: tried(0.5, seed=2), 4: tried(0.502, seed=3), 0: tried(0.9)}
    assert best_tried(found, six) == (5, False)


def test_only_those_that_came_furthest_are_compared(six: Table) -> None:
    early = tried(0.2, rung=0, seed=4)
    assert best_tried({5: early, 2: tried(0.5, seed=2), 3: tried(0.7, seed=3)}, six) == (2, True)


def test_less_than_two_tell_nothing(six: Table) -> None:
    assert best_tried({}, six) is None
    assert best_tried({3: tried(0.4), 4: tried(0.1, rung=None)}, six) is None


def test_the_share_of_false_alarms_is_that_of_the_bound() -> None:
    alarms = sum(worse(tried(0.5, seed=seed).losses + shift, tried(0.5, seed=seed + 5000).losses)
                 for seed in range(400) for shift in [np.random.default_rng(seed).normal(0, 0.05 * math.sqrt(2 / 400))])  # fmt: skip
    assert alarms / 400 == pytest.approx(0.025, abs=0.02)
