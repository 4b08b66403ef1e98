from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from every import everyone, tabled

from edgekd.cost.columns import SpecColumns
from edgekd.device import DeviceProfile
from edgekd.sizing.table import Table, table_of_specs
from edgekd.space import Space
from edgekd.student import StudentSpec

PRECISIONS = ("fp32", "int8")


@pytest.fixture(params=["teacher", "vit", "llama"])
def table(request: pytest.FixtureRequest, make_profile: Callable[..., DeviceProfile]) -> Table:
    spec: StudentSpec = request.getfixturevalue(request.param)
    hidden = [spec.hidden // 2, spec.hidden]
    space = Space(layers=[1, 2, 5, 6], hidden=hidden, ffn=[40, spec.ffn], min_share=0.0)
    return tabled(space, spec, make_profile(peak="10 GMAC/s"), PRECISIONS)


def test_columns_are_what_each_student_is_priced_at(table: Table) -> None:
    for row, student in enumerate(everyone(table)):
        assert table.name(row) == student.name
        assert (table.capacity[row], table.shares[row]) == (student.capacity, student.share)
        for precision, price in student.prices.items():
            assert table.memory_bytes(precision)[row] == price.memory_bytes
            found = table.roofline(precision)
            assert not isinstance(found, str)
            ends, memory_binds = found
            told = price.roofline
            assert (ends.low[row], ends.mid[row], ends.high[row]) == (told.low_s, told.mid_s, told.high_s)
            assert memory_binds[row] == (told.bound == "memory")
            columns = table.features(precision)
            assert {name: float(columns[name][row]) for name in columns} == student.features[precision]


def test_a_profile_without_a_peak_has_no_roofline(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    found = tabled(Space(layers=[1]), teacher, make_profile()).roofline("fp32")
    assert isinstance(found, str)
    assert "lacks peak_macs_per_s for fp32" in found


def test_more_parameters_come_before_depth_and_embeddings_do_not_count(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    table = tabled(Space(layers=[1, 6], hidden=[64, 384], ffn=[64]), teacher, make_profile())
    order = [table.name(row) for row in table.rank(np.arange(len(table)))]
    assert order == ["L1-H64-A2-F64", "L6-H64-A2-F64", "L1-H384-A12-F64", "L6-H384-A12-F64"]
    wide, deep = order[2], order[1]
    sizes = {table.name(row): int(table.counts.parameters[row]) for row in range(len(table))}
    assert sizes[wide] > 5 * sizes[deep]


def test_who_exceeds_whom_agrees_with_the_order(table: Table) -> None:
    order = table.rank(np.arange(len(table))).tolist()
    for place, row in enumerate(order):
        assert set(np.flatnonzero(table.exceeds(row)).tolist()) == set(order[place + 1 :])


@pytest.mark.parametrize("number", [1, 3, 100])
def test_leading_are_the_last_in_the_order(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], number: int
) -> None:
    # Equal capacities, equal layers: the other dimensions decide.
    space = Space(layers=[1, 2, 4], hidden=[64, 128], sequence=[8, 16], ffn=[64, 128, 256])
    table = tabled(space, teacher, make_profile())
    mask = np.arange(len(table)) % 5 != 0
    order = [row for row in table.rank(np.arange(len(table))).tolist() if mask[row]]
    assert table.leading(mask, number) == order[::-1][:number]
    assert table.leading(mask & False, number) == []


def test_a_student_is_found_again_and_another_one_is_not(table: Table) -> None:
    student = table.student(5)
    assert table.row_of(student) == 5
    other = table.specs.rows(np.arange(len(table)) != 5)
    rest = table_of_specs(other, np.delete(table.sequence, 5), table.pricing)
    assert rest.row_of(student) is None


def test_students_of_mixed_lengths_are_counted_in_the_order_given(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    pricing = tabled(Space(layers=[1], sequence=[8, 16]), teacher, make_profile(), PRECISIONS).pricing
    specs = [replace(teacher, layers=layers) for layers in (3, 1, 2, 1)]
    table = table_of_specs(SpecColumns.of(specs, teacher), np.array([16, 8, 16, 16]), pricing)
    students = everyone(table)
    assert [student.name.rpartition("-S")[2] for student in students] == ["16", "8", "16", "16"]
    assert table.counts.macs.tolist() == [student.macs for student in students]
    assert table.row_of(students[3]) == 3
