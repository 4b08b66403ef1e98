from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from every import enumerated, specs_of
from numpy.typing import NDArray
from searched import pricing_of

from edgekd.device import DeviceProfile
from edgekd.sizing import boxes as module
from edgekd.sizing.boxes import NONE, Boxes, Whole
from edgekd.sizing.grid import Grid
from edgekd.sizing.table import Table
from edgekd.space import Space
from edgekd.student import StudentSpec

SPACE = Space(
    layers=[1, 2, 3, 5], hidden=list(range(32, 385, 16)), head_dim=[16, 32], ffn=[8, 64, 512, 1536], min_share=0.1
)


@pytest.fixture
def whole(teacher: StudentSpec, make_profile: Callable[..., DeviceProfile]) -> Whole:
    grid = Grid(SPACE, teacher, 64)
    return Whole(grid, pricing_of(grid, make_profile(peak="10 GMAC/s")))


def names_of(table: Table) -> list[str]:
    return sorted(table.name(row) for row in range(len(table)))


def test_the_roots_hold_every_combination_once(whole: Whole) -> None:
    roots = whole.roots()
    assert len(roots) == 2
    assert roots.combinations.sum() == whole.grid.size
    places = whole.combinations(roots)
    assert len(np.unique(places, axis=0)) == len(places) == whole.grid.size


def test_halves_hold_what_the_box_held(whole: Whole) -> None:
    boxes = whole.roots()
    for _ in range(5):
        before = np.unique(whole.combinations(boxes), axis=0)
        halves = whole.halves(boxes)
        assert len(halves) == 2 * len(boxes)
        assert np.array_equal(np.unique(whole.combinations(halves), axis=0), before)
        boxes = halves


def test_students_in_boxes_are_those_of_the_enumeration(whole: Whole, teacher: StudentSpec) -> None:
    expected = sorted(spec.name for spec in specs_of(enumerated(SPACE, teacher)))
    assert names_of(whole.students(whole.combinations(whole.roots())).table) == expected


def test_a_box_dropped_by_its_dimensions_holds_no_student(whole: Whole) -> None:
    boxes = whole.roots()
    for _ in range(7):
        boxes = whole.halves(boxes)
    kept = whole.corners(boxes)
    kept = kept.boxes.at(kept.holds)
    assert 0 < len(kept) < len(boxes)
    everything = whole.students(whole.combinations(boxes)).table
    assert names_of(whole.students(whole.combinations(kept)).table) == names_of(everything)


@pytest.mark.parametrize("family", ["teacher", "vit", "llama"])
def test_no_student_is_below_the_first_corner_of_its_box_or_above_the_last(
    family: str, request: pytest.FixtureRequest, make_profile: Callable[..., DeviceProfile]
) -> None:
    teacher: StudentSpec = request.getfixturevalue(family)
    hidden = list(range(teacher.head_dim, teacher.hidden + 1, teacher.head_dim))
    sequence = None if teacher.tokens else [8, 32]
    space = Space(layers=[1, 2, 3, 6], hidden=hidden, ffn=[8, 30, 100, 700], sequence=sequence, min_share=0.0)
    grid = Grid(space, teacher, teacher.tokens or 64)
    whole = Whole(grid, pricing_of(grid, make_profile(peak="10 GMAC/s")))
    boxes = whole.halves(whole.halves(whole.roots()))
    corners = whole.corners(boxes)
    for box in range(len(corners.boxes)):
        inside = whole.students(whole.combinations(corners.boxes.at(np.array([box])))).table
        for ends, compare in ((corners.first, np.less_equal), (corners.last, np.greater_equal)):
            assert compare(ends.capacity[box], inside.capacity).all()
            assert compare(ends.counts.macs[box], inside.counts.macs).all()
            for precision in ("fp32", "int8"):
                names = list(ends.features(precision))
                assert {"layers", "macs", "peak_activation_bytes", "starts", "elements.scores"} < set(names)
                for name in names:
                    column = inside.features(precision)[name]
                    assert compare(ends.features(precision)[name][box], column).all(), name


def coarse(table: Table) -> NDArray[np.float64]:
    return table.capacity // 100_000 + 0.0


@pytest.mark.parametrize("batch", [2, 4096])
@pytest.mark.parametrize("ties", [True, False])
def test_the_best_are_found_with_all_that_equal_the_last_when_asked(
    whole: Whole, batch: int, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(module, "LEAF", 2)
    everything = coarse(whole.students(whole.combinations(whole.roots())).table)
    found = coarse(whole.students(whole.best(5, lambda corners: coarse(corners.last), coarse, ties=ties).places).table)
    five = np.sort(everything)[-5:]
    if ties:
        assert np.array_equal(np.sort(found), np.sort(everything[everything >= five[0]]))
    else:
        assert np.array_equal(np.sort(found)[-5:], five)


def test_a_space_in_which_all_are_equal_is_not_looked_at_whole(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAF", 2)
    monkeypatch.setattr(module, "BATCH", 8)
    seen = []

    def flat(table: Table) -> NDArray[np.float64]:
        seen.append(len(table))
        return np.zeros(len(table))

    assert len(whole.best(3, lambda corners: np.zeros(len(corners.boxes)), flat).places) >= 3
    assert sum(seen) < len(whole.students(whole.combinations(whole.roots())).table) / 4


def test_nothing_is_found_where_nothing_counts(whole: Whole) -> None:
    found = whole.best(5, lambda corners: np.full(len(corners.boxes), NONE), lambda table: np.full(len(table), NONE))
    assert len(found.places) == 0
    assert found.proven


def test_boxes_are_taken_and_joined(whole: Whole) -> None:
    roots = whole.roots()
    one = roots.at(np.array([1]))
    both = one.with_more(roots)
    assert isinstance(both, Boxes)
    assert len(both) == 3
    assert both.first[0].tolist() == both.first[2].tolist()


def test_after_too_many_boxes_the_best_so_far_are_given(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BOXES", 1)
    found = whole.best(5, lambda corners: coarse(corners.last), coarse)
    assert not found.proven


def test_ffn_is_cut_last(whole: Whole) -> None:
    boxes = whole.roots()
    for _ in range(4):
        boxes = whole.halves(boxes)
    axis = list(whole.grid.axes).index("ffn")
    assert (boxes.last[:, axis] - boxes.first[:, axis] == 3).all()
