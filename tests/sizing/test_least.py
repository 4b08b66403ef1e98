from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from searched import pricing_of

from edgekd.cost.tails import TAILS
from edgekd.device import DeviceProfile
from edgekd.sizing.boxes import Whole
from edgekd.sizing.grid import Grid
from edgekd.sizing.least import with_least_tails, with_tails
from edgekd.space import Space
from edgekd.student import StudentSpec


def whole_of(space: Space, teacher: StudentSpec, profile: DeviceProfile, *precisions: str) -> Whole:
    grid = Grid(space, teacher, 64)
    pricing = pricing_of(grid, profile)
    return Whole(grid, replace(pricing, setting=replace(pricing.setting, precisions=precisions)))


@pytest.mark.parametrize("family", ["teacher", "llama"])
@pytest.mark.parametrize("seed", range(4))
def test_no_student_of_a_random_box_has_fewer_tails_than_its_first_corner(
    family: str, seed: int, request: pytest.FixtureRequest, make_profile: Callable[..., DeviceProfile]
) -> None:
    draw = np.random.default_rng(seed)
    teacher: StudentSpec = request.getfixturevalue(family)
    dim = teacher.head_dim
    space = Space(
        layers=sorted(draw.choice(np.arange(1, 7), 3, replace=False).tolist()),
        hidden=sorted(draw.choice(np.arange(dim, 385, dim), 5, replace=False).tolist()),
        ffn=sorted(draw.choice(np.arange(8, 1025), 7, replace=False).tolist()),
        sequence=[16, 64], min_share=0.0,
    )  # fmt: skip
    whole = whole_of(space, teacher, make_profile(peak="10 GMAC/s"), "int4")
    boxes, sure, loose = whole.roots(), 0, 0
    while (boxes.combinations > 1).any():
        boxes = whole.halves(boxes.at(boxes.combinations > 1))
        corners = whole.corners(boxes)
        least = corners.first.counts.terms[TAILS]
        for box in range(len(corners.boxes)):
            inside = whole.students(whole.combinations(corners.boxes.at(np.array([box])))).table
            if len(inside):
                assert least[box] <= inside.counts.terms[TAILS].min()
                sure += least[box] > 0
                loose += inside.counts.terms[TAILS].min() < inside.counts.terms[TAILS][0]
    assert sure > 10
    assert loose > 0  # in some box a larger student has fewer, or nothing would be tried here


def test_without_four_bits_nothing_is_made_anew(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    whole = whole_of(Space(layers=[1, 2], ffn=[100, 200]), teacher, make_profile(), "fp32", "int8")
    table = whole.corners(whole.roots()).first
    assert with_least_tails(table, table) is table
    assert TAILS not in table.counts.terms


def test_other_tails_change_nothing_else(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> None:
    whole = whole_of(Space(layers=[1, 2], ffn=[100, 200]), teacher, make_profile(), "int4")
    table = whole.students(whole.combinations(whole.roots())).table
    found = with_tails(table, np.zeros(len(table)))
    assert not found.counts.terms[TAILS].any()
    assert table.counts.terms[TAILS].any()
    assert np.array_equal(found.capacity, table.capacity)
    assert {**found.counts.terms, TAILS: 0}.keys() == table.counts.terms.keys()
