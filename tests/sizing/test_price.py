from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from every import enumerated, specs_of

from edgekd.cost.count import count
from edgekd.cost.operators import operators
from edgekd.cost.tails import TAILS, tails
from edgekd.cost.terms import TERMS
from edgekd.device import DeviceProfile
from edgekd.sizing.price import PricedStudent, Setting, priced, vocabulary_parameters
from edgekd.space import Space
from edgekd.student import StudentSpec

SETTING = Setting(("fp32", "int8"), 1, 64, 1)


def students_of(space: Space, teacher: StudentSpec, profile: DeviceProfile) -> list[PricedStudent]:
    return priced(specs_of(enumerated(space, teacher)), teacher, profile, SETTING)


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
        priced(specs_of(enumerated(Space(layers=[layers]), spec)), spec, make_profile(), setting)[0]
        for layers in (1, 2)
    )
    per_layer = two.parameters - one.parameters
    assert one.capacity == one.parameters - vocabulary_parameters(one.spec)
    assert per_layer <= one.capacity < 1.3 * per_layer + 2 * spec.hidden * (spec.hidden + spec.labels + 1)


def test_small_student_carries_a_warning(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    small, large = students_of(Space(layers=[1, 6], hidden=[32, 384], ffn=[64], heads=None), teacher, make_profile())[
        ::3
    ]
    assert "of the teacher's parameters" in small.warnings[0]
    assert large.warnings == ()


def test_features_are_the_counts_and_the_terms_of_a_latency(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    features = students_of(Space(layers=[3]), teacher, make_profile())[0].features
    counts = count(replace(teacher, layers=3), batch=1, sequence=64, precision="int8")
    assert features["int8"]["weight_bytes"] == counts.weight_bytes < features["fp32"]["weight_bytes"]
    assert features["int8"]["macs"] == sum(features["int8"][name] for name in TERMS if name.startswith("macs."))
    assert set(TERMS) < set(features["fp32"])


def test_a_student_at_one_of_several_lengths_says_so_and_is_counted_there(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    (short,) = priced([teacher], teacher, make_profile(), SETTING, sequence=16)
    (long,) = priced([teacher], teacher, make_profile(), SETTING)
    assert (short.name, long.name) == (f"{teacher.name}-S16", teacher.name)
    assert [candidate.name for candidate in short.candidates] == [f"{short.name}-fp32", f"{short.name}-int8"]
    assert short.prices["fp32"].counts == count(teacher, batch=1, sequence=16, precision="fp32")
    assert short.parameters == long.parameters
    assert short.macs < long.macs


def test_a_student_of_four_bits_has_tails(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    setting = replace(SETTING, precisions=("int8", "int4"))
    (student,) = priced([replace(teacher, ffn=200)], teacher, make_profile(), setting)
    assert student.features["int4"][TAILS] == tails(operators(student.spec, batch=1, sequence=64)) > 0
    assert TAILS not in student.features["int8"]
