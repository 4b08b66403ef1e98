from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from searched import known_of, pricing_of

from edgekd.device import DeviceProfile
from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import NONE, Whole
from edgekd.sizing.grid import Grid
from edgekd.sizing.limits import Limit
from edgekd.space import Space
from edgekd.student import StudentSpec

LIMITS = [Limit("latency.p95", "latency_s", 4e-3, 0.95), Limit("memory", "memory_bytes", 85e6)]
ENERGY = [Limit("latency.p95", "latency_s", 6e-3, 0.95), Limit("energy", "energy_j", 12e-3)]
SPACE = Space(layers=[1, 2, 4, 6], hidden=list(range(32, 385, 32)), ffn=[64, 256, 1024, 1536], sequence=[16, 64])


@pytest.fixture
def whole(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Whole:
    grid = Grid(SPACE, teacher, 64)
    return Whole(grid, pricing_of(grid, make_profile(peak="10 GMAC/s", budget="3 W")))


@pytest.fixture(params=["predicted", "measured", "energy by budget", "energy predicted", "energy measured"])
def bounds(whole: Whole, request: pytest.FixtureRequest, make_board: Callable[..., Any]) -> Bounds:
    limits = ENERGY if request.param.startswith("energy") else LIMITS
    board = make_board(watts=4.0 if limits is ENERGY else None, noise=0.03) if "measured" in request.param else None
    known = known_of(whole.grid, whole.pricing, limits, board, "upper")
    if request.param == "energy predicted":
        others = known_of(whole.grid, whole.pricing, limits, make_board(watts=4.0, noise=0.1, seed=3), "upper")
        known = replace(known, fits=others.fits)
    return Bounds(known, whole.grid.sequences)


@pytest.mark.parametrize("search", ["most_capable", "nearest"])
def test_no_student_of_a_box_scores_more_than_its_bound(whole: Whole, bounds: Bounds, search: str) -> None:
    limits_of = bounds.known.limits
    bound, score = bounds.most_capable() if search == "most_capable" else bounds.nearest(limits_of, "high")
    boxes = whole.roots()
    for _ in range(4):
        boxes = whole.halves(boxes)
    corners = whole.corners(boxes)
    limits = bound(corners)
    assert (limits > NONE).any()
    for box in range(len(corners.boxes)):
        inside = whole.students(whole.combinations(corners.boxes.at(np.array([box])))).table
        assert (score(inside) <= limits[box]).all()


def test_measured_students_are_passed_over(whole: Whole, bounds: Bounds) -> None:
    table = whole.students(whole.combinations(whole.roots())).table
    new = bounds.unmeasured(table)
    measured = {student.name for student in bounds.known.measured}
    assert {table.name(row) for row in np.flatnonzero(~new).tolist()} == measured
    score = bounds.most_capable()[1](table)
    assert (score[~new] == NONE).all()
    assert (score[new] > NONE).any()


def test_a_longer_input_scores_more_than_any_capacity(whole: Whole, bounds: Bounds) -> None:
    table = whole.students(whole.combinations(whole.roots())).table
    score = bounds.most_capable()[1](table)
    short, long = (score[(table.sequence == length) & (score > NONE)] for length in (16, 64))
    assert short.max() < long.min()
