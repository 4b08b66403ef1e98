from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from every import everyone, tabled

from edgekd.device import DeviceProfile
from edgekd.sizing.choice import Compare, Standing
from edgekd.sizing.forecast import Forecasts, Measurement
from edgekd.sizing.limits import Limit
from edgekd.sizing.obstacle import obstacle_of
from edgekd.sizing.table import Ends, Table
from edgekd.space import Space
from edgekd.student import StudentSpec

LIMIT = Limit("latency.p50", "latency_s", 1.0)
SIZE = Limit("size", "size_bytes", 10.0)


@pytest.fixture(params=[("fp32",), ("fp32", "int8")], ids=["fp32", "both"])
def table(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile], request: pytest.FixtureRequest) -> Table:
    return tabled(Space(layers=[2, 3]), teacher, make_profile(), request.param)


@pytest.fixture
def make_standing(table: Table) -> Callable[..., Standing]:
    def make(
        *latencies_s: tuple[float, float, float],
        limits: tuple[Limit, ...] = (LIMIT,),
        size: float = 5.0,
        measured: bool,
        compare: Compare = "upper",
    ) -> Standing:
        flat, sizes = Ends(*[np.full(2, 1.0)] * 3), Ends(*[np.full(2, size)] * 3)
        expected = Forecasts(Ends(*np.array(latencies_s).T), flat, sizes)
        students = everyone(table) if measured else []
        taken = {
            candidate.name: Measurement(mid, 0.0, low, high)
            for student, (low, mid, high) in zip(students, latencies_s, strict=False)
            for candidate in student.candidates
        }
        return Standing(table, limits, dict.fromkeys(table.precisions, expected), students, taken, compare)

    return make


def test_nearest_student_and_what_it_keeps_are_named(make_standing: Callable[..., Standing], table: Table) -> None:
    found = obstacle_of(make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), measured=True), {})
    assert found.student == table.name(0)
    assert (found.value, found.ratio) == (2.1, 2.1)
    assert found.certain
    assert found.impossible == ["latency.p50"]
    assert "raise latency.p50 from 1.00 s to more than 2.10 s" in found.text
    assert "(measured), 2.10 times" in found.text
    assert any("int8" in line for line in found.advice) == (table.precisions == ("fp32",))


def test_an_energy_that_nothing_tells_stands_in_the_way_and_is_named(
    make_standing: Callable[..., Standing], table: Table
) -> None:
    energy = Limit("energy", "energy_j", 0.02)
    found = obstacle_of(make_standing((0.1, 0.2, 0.3), (0.2, 0.3, 0.4), limits=(LIMIT, energy), measured=True), {})
    assert (found.limit, found.value, found.ratio) == ("energy", None, None)
    assert found.text.startswith("Undecided: nothing is known about energy")
    assert any("measure on the host, because" in line for line in found.advice)


def test_students_that_may_still_fit_make_it_uncertain(make_standing: Callable[..., Standing], table: Table) -> None:
    found = obstacle_of(make_standing((0.9, 1.0, 1.1), (0.8, 1.2, 1.4), measured=False), {})
    assert not found.certain
    assert found.impossible == []
    assert "2 that were not measured may" in found.text


def test_every_missed_limit_is_in_the_advice_and_the_worst_one_in_front(
    make_standing: Callable[..., Standing], table: Table
) -> None:
    standing = make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), limits=(LIMIT, SIZE), size=50.0, measured=True)
    found = obstacle_of(standing, {})
    assert (found.limit, found.ratio) == ("size", 5.0)
    assert found.impossible == ["latency.p50", "size"]
    assert sum(line.startswith("raise ") for line in found.advice) == 2


def test_the_middle_is_told_as_about_so_much(make_standing: Callable[..., Standing], table: Table) -> None:
    found = obstacle_of(make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), measured=True, compare="middle"), {})
    assert found.value == 2.0
    assert "is about 2.00 s (measured)" in found.text


def test_refused_small_students_are_a_way_out(make_standing: Callable[..., Standing], table: Table) -> None:
    refused = {"less than min_share 10.0 % of the teacher's parameters": 7, "hidden is no multiple of heads": 2}
    found = obstacle_of(make_standing((1.9, 2.0, 2.1), (2.9, 3.0, 3.1), measured=True), refused)
    assert any(line.startswith("lower space.min_share, which refused 7 smaller students") for line in found.advice)
    assert not any("multiple of heads" in line for line in found.advice)
