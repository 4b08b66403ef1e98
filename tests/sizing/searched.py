"""A space looked at whole and the same one searched, with the same knowledge, for tests that compare both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from edgekd.device import DeviceProfile
from edgekd.sizing import supply
from edgekd.sizing.choice import Compare, Standing
from edgekd.sizing.grid import Grid
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import Known, Measuring
from edgekd.sizing.price import Setting
from edgekd.sizing.space import enumerate_students
from edgekd.sizing.supply import Everyone, Searched, supply_of
from edgekd.sizing.table import Pricing, table_of
from edgekd.space import Space
from edgekd.student import StudentSpec

PRECISIONS = ("fp32", "int8")


def pricing_of(grid: Grid, profile: DeviceProfile) -> Pricing:
    several = len(grid.sequences) > 1
    return Pricing(grid.teacher, profile, Setting(PRECISIONS, 1, grid.sequences[-1], 1), several=several)


def known_of(grid: Grid, pricing: Pricing, limits: Sequence[Limit], measure: Any, compare: Compare) -> Known:
    """What a search over all students knows at its end."""
    everyone = Everyone(table_of(enumerate_students(grid), pricing), {}, [])
    run = Measuring(everyone, list(limits), PRECISIONS, measure, compare, 3)
    if measure is not None:
        run.calibrate(6)
        run.narrow_down()
    standing = run.standing
    return Known(limits, compare, 3, run.fits, standing.measured, standing.measurements)


def both(
    space: Space,
    teacher: StudentSpec,
    profile: DeviceProfile,
    limits: Sequence[Limit],
    measure: Any,
    compare: Compare = "upper",
) -> tuple[Standing, Standing, Searched]:
    """How all students stand, how those of a search stand, and the search."""
    grid = Grid(space, teacher, teacher.tokens or 64)
    pricing = pricing_of(grid, profile)
    known = known_of(grid, pricing, limits, measure, compare)
    whole = known.standing(table_of(enumerate_students(grid), pricing))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply, "MOST_COMBINATIONS", 0)
        patch.setattr(supply, "SAMPLED", 20)
        searched = supply_of(grid, pricing)
    assert isinstance(searched, Searched)
    return whole, known.standing(searched.table(known)), searched
