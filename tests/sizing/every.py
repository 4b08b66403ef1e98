"""What the tests of sizing ask of a space again and again: its students, as a table and one by one."""

from __future__ import annotations

from edgekd.device import DeviceProfile
from edgekd.sizing.grid import Grid
from edgekd.sizing.price import PricedStudent, Setting
from edgekd.sizing.space import Enumeration, enumerate_students
from edgekd.sizing.table import Pricing, Table, table_of
from edgekd.space import Space
from edgekd.student import StudentSpec


def enumerated(space: Space, teacher: StudentSpec, sequence: int = 64) -> Enumeration:
    return enumerate_students(Grid(space, teacher, teacher.tokens or sequence))


def specs_of(found: Enumeration) -> list[StudentSpec]:
    return [found.specs.spec(row) for row in range(len(found))]


def tabled(
    space: Space,
    teacher: StudentSpec,
    profile: DeviceProfile,
    precisions: tuple[str, ...] = ("fp32",),
    sequence: int = 64,
) -> Table:
    grid = Grid(space, teacher, teacher.tokens or sequence)
    setting = Setting(precisions, 1, grid.sequences[-1], 1)
    return table_of(enumerate_students(grid), Pricing(teacher, profile, setting, several=len(grid.sequences) > 1))


def everyone(table: Table) -> list[PricedStudent]:
    return [table.student(row) for row in range(len(table))]
