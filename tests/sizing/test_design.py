"""The students that a search measures first: those that tell most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from every import tabled

from edgekd.device import DeviceProfile
from edgekd.sizing import design
from edgekd.sizing.design import to_measure
from edgekd.sizing.table import table_of_specs
from edgekd.space import Space
from edgekd.student import StudentSpec

SPACE = Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn=[128, 512, 1536])


def test_the_design_reaches_the_ends_of_every_dimension(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(SPACE, teacher, make_profile())
    rows = to_measure(table, 8)
    assert len(set(rows)) == 8
    for values in (table.specs.layers, table.specs.hidden, table.specs.ffn):
        assert {values.min(), values.max()} <= set(values[rows])


def test_the_design_does_not_depend_on_the_order_given(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(SPACE, teacher, make_profile())
    back = np.arange(len(table))[::-1]
    other = table_of_specs(table.specs.rows(back), table.sequence[back], table.pricing)
    assert [table.name(row) for row in to_measure(table, 5)] == [other.name(row) for row in to_measure(other, 5)]


def test_the_design_has_short_and_long_inputs(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    space = Space(layers=[1, 6], hidden=[64, 384], sequence=[8, 32, 128])
    table = tabled(space, teacher, make_profile())
    assert {8, 128} <= set(table.sequence[to_measure(table, 6)])


def test_a_large_table_is_thinned_and_keeps_its_ends(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tabled(
        Space(layers=[1, 2, 3, 4, 5, 6], hidden=[64, 192, 384], ffn=list(range(64, 1536, 8))), teacher, make_profile()
    )
    monkeypatch.setattr(design, "MOST_ROWS", 50)
    work = table.counts.macs
    rows = to_measure(table, 12)
    assert len(set(rows)) == 12
    assert work[rows].min() == work.min()
    assert work[rows].max() == work.max()
