from __future__ import annotations

from collections.abc import Callable

import numpy as np
from every import tabled

from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.design import spanning
from edgekd.sizing.table import table_of_specs
from edgekd.student import StudentSpec


def test_spanning_students_hold_both_ends_and_the_middle(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn=[128, 512, 1536]), teacher, make_profile())
    rows = spanning(table, 6)
    taken, work = table.counts.macs[rows], table.counts.macs
    assert taken[0] == work.min()
    assert taken[1] == work.max()
    assert work.min() < taken[2] < work.max()
    assert len(set(rows)) == 6
    for values in (table.specs.layers, table.specs.hidden, table.specs.ffn):
        assert {values.min(), values.max()} <= set(values[rows])


def test_spanning_students_do_not_depend_on_the_order_given(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn=[128, 512]), teacher, make_profile())
    back = np.arange(len(table))[::-1]
    other = table_of_specs(table.specs.rows(back), table.sequence[back], table.pricing)
    assert [table.name(row) for row in spanning(table, 5)] == [other.name(row) for row in spanning(other, 5)]


def test_students_span_the_lengths_of_input_too(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[2, 6], hidden=[64, 384], sequence=[16, 64]), teacher, make_profile())
    assert set(table.sequence[spanning(table, 4)]) == {16, 64}


def test_few_students_are_all_taken(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    assert len(spanning(tabled(Space(layers=[1, 2]), teacher, make_profile()), 6)) == 2
