from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekd.cost.calibrate import Interval
from edgekd.device import DeviceProfile
from edgekd.recipe import Space
from edgekd.sizing.choice import Standing
from edgekd.sizing.forecast import Forecast, Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.obstacle import obstacle_of
from edgekd.sizing.price import Setting, priced
from edgekd.sizing.space import Enumeration, enumerate_students
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 1.0)
SIZE = Limit("size", "size_bytes", 10.0)


@pytest.fixture
def enumeration(teacher: StudentSpec) -> Enumeration:
    return enumerate_students(Space(layers=[2, 3]), teacher)


@pytest.fixture
def make_standing(
    teacher: StudentSpec, enumeration: Enumeration, make_profile: Callable[..., DeviceProfile]
) -> Callable[..., Standing]:
    students = priced(enumeration.students, teacher, make_profile(), Setting(("fp32",), 1, 64, 1))

    def make(
        *latencies_s: tuple[float, float, float],
        limits: tuple[Limit, ...] = (LIMIT,),
        size: float = 5.0,
        measured: bool,
    ) -> Standing:
        expected = {
            f"{student.name}-fp32": Forecast(Interval(*ends), Interval(1.0, 1.0, 1.0), Interval(size, size, size))
            for student, ends in zip(students, latencies_s, strict=True)
        }
        taken = {
            name: Measurement(f.latency.mid, 0.0, f.latency.low, f.latency.high)
            for name, f in expected.items()
            if f.latency
        }
        return Standing(students, limits, expected, taken if measured else {})

    return make


def test_nearest_student_and_what_it_keeps_are_named(
    make_standing: Callable[..., Standing], enumeration: Enumeration
) -> None:
    found = obstacle_of(make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), measured=True), enumeration, ["fp32", "int8"])
    assert found.student == enumeration.students[0].name
    assert (found.value, found.ratio) == (2.1, 2.1)
    assert found.certain
    assert found.impossible == ["latency.p50"]
    assert "raise latency.p50 from 1.00 s to more than 2.10 s" in found.text
    assert "(measured), 2.10 times" in found.text
    assert not any("int8" in line for line in found.advice)


def test_students_that_may_still_fit_make_it_uncertain(
    make_standing: Callable[..., Standing], enumeration: Enumeration
) -> None:
    found = obstacle_of(make_standing((0.9, 1.0, 1.1), (0.8, 1.2, 1.4), measured=False), enumeration, ["fp32"])
    assert not found.certain
    assert found.impossible == []
    assert "2 that were not measured may" in found.text
    assert "allow int8" in found.text


def test_every_missed_limit_is_in_the_advice_and_the_worst_one_in_front(
    make_standing: Callable[..., Standing], enumeration: Enumeration
) -> None:
    standing = make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), limits=(LIMIT, SIZE), size=50.0, measured=True)
    found = obstacle_of(standing, enumeration, ["fp32", "int8"])
    assert (found.limit, found.ratio) == ("size", 5.0)
    assert found.impossible == ["latency.p50", "size"]
    assert sum(line.startswith("raise ") for line in found.advice) == 2
