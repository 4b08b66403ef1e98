from __future__ import annotations

from collections.abc import Callable

import pytest
from every import everyone

from edgekd.device import DeviceProfile
from edgekd.errors import SpecError
from edgekd.recipe import Space
from edgekd.sizing.grid import Grid
from edgekd.sizing.price import Setting
from edgekd.sizing.supply import supply_of
from edgekd.sizing.table import Pricing
from edgekd.student import StudentSpec


@pytest.fixture
def pricing(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Pricing:
    return Pricing(teacher, make_profile(peak="10 GMAC/s"), Setting(("fp32",), 1, 64, 1))


def test_a_small_space_supplies_all_its_students(teacher: StudentSpec, pricing: Pricing) -> None:
    supply = supply_of(Grid(Space(layers=[1, 2, 9]), teacher, 64), pricing)
    assert [student.spec.layers for student in everyone(supply.sample)] == [1, 2]
    assert (supply.possible, supply.within) == (2, 0.0)
    assert supply.refused == {"layers above the teacher's 6": 1}


def test_an_empty_space_is_refused(teacher: StudentSpec, pricing: Pricing) -> None:
    with pytest.raises(SpecError, match="all 1 combinations were refused"):
        supply_of(Grid(Space(layers=[9]), teacher, 64), pricing)
