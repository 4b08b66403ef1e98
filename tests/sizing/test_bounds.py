from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from searched import PRECISIONS, known_of, pricing_of

from edgekd.cost.calibrate import Fit
from edgekd.cost.tails import TAILS
from edgekd.device import DeviceProfile
from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import NONE, Bound, Boxes, Score, Whole
from edgekd.sizing.forecast import Fits
from edgekd.sizing.grid import Grid
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import Known
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
    assert_bounded(whole, boxes, bound, score)


def assert_bounded(whole: Whole, boxes: Boxes, bound: Bound, score: Score) -> None:
    corners = whole.corners(boxes)
    limits = bound(corners)
    assert (limits > NONE).any()
    for box in range(len(corners.boxes)):
        inside = whole.students(whole.combinations(corners.boxes.at(np.array([box])))).table
        assert (score(inside) <= limits[box]).all()


# Prices that make what a student takes no straight line in ffn, and limits that tell.
BENT: Mapping[str, tuple[str, dict[str, float], Limit]] = {
    "tails": (
        "int4", {"one": 1e-4, "macs.feed_forward": 1e-11, TAILS: 5e-11}, Limit("latency.p50", "latency_s", 1.5e-3)
    ),
    "a swept cache": (
        "fp32", {"one": 1e-4, "macs.feed_forward": 1e-13, "traffic.swept_4m": 1e-9},
        Limit("latency.p50", "latency_s", 3e-3),
    ),
    "a cache left for long": (
        "fp32", {"one": 1e-4, "macs.feed_forward": 1e-13, "traffic.aged_256m": 3e-9},
        Limit("latency.p50", "latency_s", 2e-3),
    ),
    "blocks of weights": ("int4", {"one": 1e-4, "macs.feed_forward": 1e-11}, Limit("size", "size_bytes", 5e6)),
}  # fmt: skip


@pytest.mark.parametrize("bent", BENT)
@pytest.mark.parametrize("seed", range(3))
def test_no_student_of_a_random_box_scores_more_than_its_bound_where_lines_are_bent(
    bent: str, seed: int, teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    draw = np.random.default_rng(seed)
    space = Space(
        layers=[1, 2, 6], hidden=sorted(draw.choice(np.arange(32, 385, 32), 5, replace=False).tolist()),
        ffn=sorted(draw.choice(np.arange(8, 1537), 40, replace=False).tolist()), min_share=0.0,
    )  # fmt: skip
    precision, prices, limit = BENT[bent]
    grid = Grid(space, teacher, 64)
    pricing = pricing_of(grid, make_profile(peak="10 GMAC/s"))
    whole = Whole(grid, replace(pricing, setting=replace(pricing.setting, precisions=(precision,))))
    known = Known([limit], "middle", 3, {precision: Fits(latency=Fit(prices, 0.1, 0.9, 9))}, [], {})
    bounds = Bounds(known, grid.sequences)
    assert not bounds.straight
    # The bound cuts somewhere, and where it does it leaves whoever keeps the limit.
    boxes, cut = whole.roots(), False
    for _ in range(7):
        for bound, score in (bounds.most_capable(), bounds.nearest([limit], "mid")):
            assert_bounded(whole, boxes, bound, score)
        corners = whole.corners(boxes)
        cut |= bool((bounds.most_capable()[0](corners) < corners.last.capacity).any())
        boxes = whole.halves(boxes)
    assert cut


@pytest.mark.parametrize("limit_s", [2e-3, 3.5e-3, 5e-3])
def test_a_bound_holds_where_a_cost_grows_less_steeply_from_some_size_on(
    limit_s: float, teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    """What is swept out of a cache jumps up to all that is fetched, and grows no faster than it from there on."""
    wide = replace(teacher, layers=12, hidden=768, head_dim=64, ffn=3072)
    grid = Grid(Space(layers=[6], hidden=[256, 384], ffn=list(range(64, 3073, 64)), min_share=0.0), wide, 64)
    whole = Whole(grid, pricing_of(grid, make_profile()))
    fits = {name: Fits(Fit({"one": 1e-3, "traffic.swept_8m": 1e-9}, 0.05, 0.9, 20)) for name in PRECISIONS}
    known = Known([Limit("latency.p50", "latency_s", limit_s)], "upper", 3, fits, [], {})
    bound, score = Bounds(known, grid.sequences).most_capable()
    (most,) = bound(whole.corners(whole.roots()))
    assert NONE < score(whole.students(whole.combinations(whole.roots())).table).max() <= most


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
