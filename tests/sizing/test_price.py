from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekd.cost.count import count
from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.price import PricedStudent, Setting, capacity_order, priced, vocabulary_parameters
from edgekd.sizing.space import enumerate_students
from edgekd.student import StudentSpec

SETTING = Setting(("fp32", "int8"), 1, 64, 1)


def students_of(space: Space, teacher: StudentSpec, profile: DeviceProfile) -> list[PricedStudent]:
    return priced(enumerate_students(space, teacher).students, teacher, profile, SETTING)


def test_price_is_the_exact_count_in_each_precision(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    student = students_of(Space(layers=[3]), teacher, make_profile(peak="10 GMAC/s"))[0]
    for precision in SETTING.precisions:
        expected = count(student.spec, batch=1, sequence=64, precision=precision)
        assert student.prices[precision].counts == expected
        assert student.prices[precision].roofline.low_s == pytest.approx(expected.macs / 1e10)
    assert student.prices["int8"].counts.weight_bytes < student.prices["fp32"].counts.weight_bytes
    assert 0 < student.share < 1
    assert [candidate.name for candidate in student.candidates] == [f"{student.name}-fp32", f"{student.name}-int8"]


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
def test_capacity_leaves_out_what_grows_with_the_vocabulary(
    family: str, request: pytest.FixtureRequest, make_profile: Callable[..., DeviceProfile]
) -> None:
    spec = request.getfixturevalue(family)
    setting = Setting(("fp32",), 1, spec.tokens or 64, 1)
    one, two = (
        priced(enumerate_students(Space(layers=[layers]), spec).students, spec, make_profile(), setting)[0]
        for layers in (1, 2)
    )
    per_layer = two.parameters - one.parameters
    assert one.capacity == one.parameters - vocabulary_parameters(one.spec)
    assert per_layer <= one.capacity < 1.3 * per_layer + 2 * spec.hidden * (spec.hidden + spec.labels + 1)


def test_more_parameters_come_before_depth_and_embeddings_do_not_count(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    students = students_of(Space(layers=[1, 6], hidden=[64, 384], ffn=[64]), teacher, make_profile())
    order = [student.name for student in sorted(students, key=capacity_order)]
    assert order == ["L1-H64-A2-F64", "L6-H64-A2-F64", "L1-H384-A12-F64", "L6-H384-A12-F64"]
    wide, deep = students[1], students[2]
    assert wide.parameters > 5 * deep.parameters


def test_small_student_carries_a_warning(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    small, large = students_of(Space(layers=[1, 6], hidden=[32, 384], ffn=[64], heads=None), teacher, make_profile())[
        ::3
    ]
    assert "of the teacher's parameters" in small.warnings[0]
    assert large.warnings == ()
