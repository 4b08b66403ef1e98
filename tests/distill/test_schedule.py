from itertools import pairwise

import pytest

from edgekd.distill.schedule import Schedule, highest, level_at
from edgekd.errors import InputError


def test_a_line_goes_from_one_to_the_other_and_stays_there() -> None:
    found = [Schedule(1.0, 0.2, "linear", 0.5).at(step, 20) for step in (0, 5, 10, 11, 20, 99)]
    assert found == pytest.approx([1.0, 0.6, 0.2, 0.2, 0.2, 0.2])
    assert found[0] == 1.0
    assert found[2:] == [0.2] * 4


def test_a_cosine_begins_and_ends_slowly() -> None:
    level = Schedule(4.0, 2.0, "cosine")
    found = [level.at(step, 12) for step in range(13)]
    assert found[0] == 4.0
    assert found[4] == pytest.approx(3.5)
    assert found[6] == pytest.approx(3.0)
    assert found[12] == 2.0
    steps = [before - after for before, after in pairwise(found)]
    assert min(steps) > 0
    assert steps[0] < steps[5] / 3 > steps[-1]


def test_a_constant_and_a_number_stay() -> None:
    assert {Schedule(0.7, 0.1, "constant").at(step, 10) for step in range(12)} == {0.7}
    assert level_at(0.7, 5, 10) == 0.7
    assert level_at(Schedule(0.0, 1.0), 5, 10) == 0.5


def test_no_value_is_above_the_highest() -> None:
    assert [highest(level) for level in (0.3, Schedule(0.9, 0.1), Schedule(0, 0.8), Schedule(0.2, 0.8, "constant"))] == [
        0.3, 0.9, 0.8, 0.2,
    ]  # fmt: skip


def test_a_training_without_steps_is_at_its_start() -> None:
    assert Schedule(1.0, 0.0).at(0, 0) == 1.0


@pytest.mark.parametrize("until", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_outside_is_refused(until: float) -> None:
    with pytest.raises(InputError, match="until"):
        Schedule(1.0, 0.0, until=until)
