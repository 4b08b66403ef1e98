from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from searched import known_of, pricing_of

from edgekd.cost.calibrate import Fit
from edgekd.cost.tails import TAILS
from edgekd.device import DeviceProfile
from edgekd.sizing import frontier
from edgekd.sizing.bounds import Bounds
from edgekd.sizing.boxes import Whole
from edgekd.sizing.choice import Standing
from edgekd.sizing.forecast import Fits
from edgekd.sizing.frontier import Points, front_of
from edgekd.sizing.grid import Grid
from edgekd.sizing.measuring import Known
from edgekd.sizing.space import enumerate_students
from edgekd.sizing.table import table_of, table_of_specs
from edgekd.space import Space
from edgekd.student import StudentSpec


@pytest.fixture
def whole(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Whole:
    space = Space(layers=[1, 2, 3, 4], hidden=list(range(32, 385, 32)), ffn=list(range(64, 1537, 64)), sequence=[8, 32])
    grid = Grid(space, teacher, 64)
    return Whole(grid, pricing_of(grid, make_profile(peak="10 GMAC/s")))


def everyone(whole: Whole, bounds: Bounds) -> Standing:
    return bounds.known.standing(table_of(enumerate_students(whole.grid), whole.pricing))


def test_the_front_is_that_of_all_students(whole: Whole) -> None:
    bounds = Bounds(known_of(whole.grid, whole.pricing, [], None, "upper"), whole.grid.sequences)
    standing = everyone(whole, bounds)
    nothing = bounds.known.standing(
        table_of_specs(standing.table.specs.rows(slice(0)), standing.table.sequence[:0], whole.pricing)
    )
    places = front_of(whole, bounds, nothing)
    assert places is not None
    found = whole.students(places).table
    assert {found.name(row) for row in range(len(found))} == {standing.table.name(row) for row, _ in standing.front}


def test_the_front_is_that_of_all_students_where_more_inputs_may_take_less(
    teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]
) -> None:
    space = Space(layers=[1, 2, 4], hidden=list(range(32, 385, 32)), ffn=list(range(64, 1025, 32)), min_share=0.0)
    grid = Grid(space, teacher, 64)
    pricing = pricing_of(grid, make_profile(peak="10 GMAC/s"))
    whole = Whole(grid, replace(pricing, setting=replace(pricing.setting, precisions=("int4",))))
    prices = {"one": 1e-4, "macs.projections": 1e-11, "macs.feed_forward": 1e-11, TAILS: 4e-11}
    fits = {"int4": Fits(latency=Fit(prices, 0.1, 0.9, 9))}
    bounds = Bounds(Known([], "middle", 3, fits, [], {}), grid.sequences)
    standing = everyone(whole, bounds)
    nothing = bounds.known.standing(
        table_of_specs(standing.table.specs.rows(slice(0)), standing.table.sequence[:0], whole.pricing)
    )
    places = front_of(whole, bounds, nothing)
    assert places is not None
    found = whole.students(places).table
    assert {found.name(row) for row in range(len(found))} == {standing.table.name(row) for row, _ in standing.front}


def test_a_front_that_takes_too_many_boxes_is_given_up(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "MOST_BOXES", 20)
    bounds = Bounds(known_of(whole.grid, whole.pricing, [], None, "upper"), whole.grid.sequences)
    standing = everyone(whole, bounds)
    nothing = bounds.known.standing(
        table_of_specs(standing.table.specs.rows(slice(0)), standing.table.sequence[:0], whole.pricing)
    )
    assert front_of(whole, bounds, nothing) is None


def test_points_beat_what_is_worse_and_not_what_is_equal_or_better_in_one() -> None:
    points = Points(np.zeros((0, 1), np.int32))
    values = np.array([(1.0, 3.0, 5.0), (2.0, 2.0, 7.0), (4.0, 4.0, 4.0)])
    latencies, memories, capacities = values.T
    points.add(np.arange(3, dtype=np.int32)[:, None], capacities, [(latencies, memories)])
    assert points.places.ravel().tolist() == [0, 1]
    asked = np.array(
        [(1.0, 3.0, 5.0), (1.0, 3.1, 5.0), (1.5, 3.0, 5.0), (1.5, 3.0, 5.1), (2.0, 2.0, 8.0), (3.0, 2.0, 6.0)]
    )
    assert points.beat(*asked.T).tolist() == [False, True, True, False, False, True]


def test_the_front_beats_as_comparing_each_with_each_would() -> None:
    draw = np.random.default_rng(3)
    known, asked = draw.integers(0, 12, (60, 3)).astype(float), draw.integers(0, 12, (200, 3)).astype(float)
    points = Points(np.zeros((0, 1), np.int32))
    points.add(np.zeros((60, 1), np.int32), known[:, 2], [(known[:, 0], known[:, 1])])

    def beaten(one: np.ndarray) -> bool:
        no_worse = (known[:, 0] <= one[0]) & (known[:, 1] <= one[1]) & (known[:, 2] >= one[2])
        return bool((no_worse & ((known[:, 0] < one[0]) | (known[:, 1] < one[1]))).any())

    assert points.beat(*asked.T).tolist() == [beaten(one) for one in asked]
