from __future__ import annotations

from collections.abc import Callable

from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.design import spanning
from edgekd.sizing.price import PricedStudent, Setting, priced
from edgekd.sizing.space import enumerate_students
from edgekd.student import StudentSpec


def students_of(space: Space, teacher: StudentSpec, profile: DeviceProfile) -> list[PricedStudent]:
    return priced(enumerate_students(space, teacher).students, teacher, profile, Setting(("fp32",), 1, 64, 1))


def test_spanning_students_hold_both_ends_and_the_middle(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    students = students_of(
        Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn=[128, 512, 1536]), teacher, make_profile()
    )
    taken = spanning(students, 6)
    work = sorted(student.macs for student in students)
    assert taken[0].macs == work[0]
    assert taken[1].macs == work[-1]
    assert work[0] < taken[2].macs < work[-1]
    assert len({student.name for student in taken}) == 6
    for name in ("layers", "hidden", "ffn"):
        values = {getattr(student.spec, name) for student in taken}
        assert {min(getattr(s.spec, name) for s in students), max(getattr(s.spec, name) for s in students)} <= values


def test_spanning_students_do_not_depend_on_the_order_given(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    students = students_of(Space(layers=[1, 2, 4, 6], hidden=[64, 192, 384], ffn=[128, 512]), teacher, make_profile())
    assert [s.name for s in spanning(students, 5)] == [s.name for s in spanning(students[::-1], 5)]


def test_few_students_are_all_taken(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    students = students_of(Space(layers=[1, 2]), teacher, make_profile())
    assert len(spanning(students, 6)) == 2
