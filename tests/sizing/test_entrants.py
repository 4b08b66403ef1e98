from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from every import everyone, tabled

from edgekd.device import DeviceProfile
from edgekd.sizing.choice import Standing
from edgekd.sizing.entrants import APART, LEAST_SHARE, entrants
from edgekd.sizing.forecast import Forecasts, Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.table import Ends, Table
from edgekd.space import Space
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 1.0)
SPACE = Space(
    layers=[1, 2, 3, 4, 5, 6], hidden=[192, 224, 256, 288, 320, 352, 384], ffn_ratio=[2.0, 4.0], head_dim=[32]
)


@pytest.fixture
def table(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Table:
    return tabled(SPACE, teacher, make_profile())


def standing_of(table: Table, limit: float, measured: Callable[[PricedStudent], bool] = lambda _: True) -> Standing:
    """Latency is layers * hidden; only some were measured."""
    mid = (table.specs.layers * table.specs.hidden / limit).astype(float)
    expected = {
        "fp32": Forecasts(Ends(mid, mid, mid), Ends(*[np.ones(len(table))] * 3), Ends(*[np.ones(len(table))] * 3))
    }
    taken = [student for student in everyone(table) if measured(student)]
    found = {}
    for student in taken:
        value = student.spec.layers * student.spec.hidden / limit
        found[f"{student.name}-fp32"] = Measurement(value, 0.0, value, value)
    return Standing(table, [LIMIT], expected, taken, found)


def test_deeper_and_wider_shapes_than_the_most_capable_are_among_them(table: Table) -> None:
    standing = standing_of(table, 4 * 288)
    rows = entrants(standing, 5)
    specs = [table.specs.spec(row) for row in rows]
    assert standing.best is not None
    best = table.specs.spec(standing.best)
    assert specs[0] == best
    assert len(rows) == len(set(rows)) == 5
    assert any(spec.layers > best.layers and spec.hidden < best.hidden for spec in specs)
    assert any(spec.layers < best.layers for spec in specs)


def test_all_keep_the_limits_and_are_about_as_capable(table: Table) -> None:
    standing = standing_of(table, 4 * 288)
    rows = entrants(standing, 12)
    assert standing.feasible[rows].all()
    assert (table.capacity[rows] >= LEAST_SHARE * table.capacity[rows[0]]).all()
    assert sorted(rows, key=lambda row: -table.capacity[row]) == rows


def test_near_twins_are_left_out(table: Table) -> None:
    rows = entrants(standing_of(table, 6 * 384), 100)
    for index, row in enumerate(rows):
        for other in rows[:index]:
            one, two = table.specs.spec(row), table.specs.spec(other)
            near = abs(math.log(one.hidden / two.hidden)) < APART
            near &= abs(math.log(table.capacity[row] / table.capacity[other])) < APART
            assert one.layers != two.layers or not near


def test_an_unmeasured_student_may_be_one_when_its_forecast_fits(table: Table) -> None:
    standing = standing_of(table, 4 * 288, measured=lambda student: student.spec.layers == 4)
    rows = entrants(standing, 4)
    assert {table.specs.spec(row).layers for row in rows} > {4}
    assert not standing.complete[rows].all()


def test_nobody_is_tried_where_nobody_is_known_to_fit(table: Table) -> None:
    assert entrants(standing_of(table, 4 * 288, measured=lambda _: False), 4) == []
    assert entrants(standing_of(table, 1.0), 4) == []


def test_one_depth_alone_gives_students_of_other_widths(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[2], hidden=[128, 192, 256, 320, 384], ffn_ratio=[1.0, 4.0]), teacher, make_profile())
    rows = entrants(standing_of(table, 2 * 384), 4)
    assert len(rows) >= 2
    assert len({(table.specs.spec(row).hidden, table.specs.spec(row).ffn) for row in rows}) == len(rows)
