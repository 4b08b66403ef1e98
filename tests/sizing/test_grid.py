from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from every import enumerated, specs_of

from edgekd.cost.tails import left_over
from edgekd.sizing.grid import Grid, thinned, trimmed
from edgekd.space import Space
from edgekd.student import StudentSpec


def dims(space: Space, teacher: StudentSpec, *names: str) -> list[tuple[int, ...]]:
    return [tuple(getattr(spec, name) for name in names) for spec in specs_of(enumerated(space, teacher))]


def test_axes_hold_each_choice_once_ascending(teacher: StudentSpec) -> None:
    grid = Grid(Space(layers=[4, 2, 2], hidden=[128, 64], ffn=[256]), teacher, 64)
    assert {name: values.tolist() for name, values in grid.axes.items()} == {
        "layers": [2, 4],
        "hidden": [64, 128],
        "ffn": [256],
    }
    assert grid.size == 4


def test_a_space_of_a_billion_is_measured_without_being_made(teacher: StudentSpec) -> None:
    space = Space(
        layers=list(range(1, 7)), hidden=list(range(1, 385)), ffn=list(range(1, 100_001)), sequence=[8, 16, 32]
    )
    assert Grid(space, teacher, 64).size == 6 * 384 * 100_000 * 3


def test_a_tied_dimension_follows_the_other_one(teacher: StudentSpec) -> None:
    space = Space(hidden=[64, 128, 192], ties={"ffn": "4 * hidden", "layers": "hidden / 64"})
    assert dims(space, teacher, "layers", "hidden", "ffn") == [(1, 64, 256), (2, 128, 512), (3, 192, 768)]


def test_ties_may_follow_each_other(teacher: StudentSpec) -> None:
    space = Space(layers=[1, 2, 4], ties={"hidden": "96 * layers", "ffn": "2.7 * hidden"})
    assert dims(space, teacher, "layers", "hidden", "heads", "ffn") == [
        (1, 96, 3, 256),
        (2, 192, 6, 520),
        (4, 384, 12, 1040),
    ]


def test_a_tie_that_gives_no_whole_number_refuses_the_combination(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[64, 128, 192], ties={"layers": "hidden / 128"}), teacher)
    assert [spec.name for spec in specs_of(found)] == ["L1-H128-A4-F1536"]
    assert found.refused == {"hidden / 128 is no whole number for layers": 2}


def test_heads_tied_to_hidden_must_keep_the_head_dim(teacher: StudentSpec) -> None:
    assert dims(Space(hidden=[64, 128], ties={"heads": "hidden / 32"}), teacher, "heads") == [(2,), (4,)]
    found = enumerated(Space(hidden=[64, 128], heads=[2]), teacher)
    assert found.refused == {"heads x the teacher's head_dim 32 is not hidden": 1}


def test_a_named_head_dim_gives_the_heads(teacher: StudentSpec) -> None:
    space = Space(hidden=[64, 128], head_dim=[16, 24, 32])
    assert dims(space, teacher, "hidden", "heads", "head_dim") == [(64, 4, 16), (64, 2, 32), (128, 8, 16), (128, 4, 32)]
    assert enumerated(space, teacher).refused == {"hidden gives no whole number of heads at head_dim": 2}


def test_a_head_dim_that_does_not_divide_the_teachers_is_refused(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[96], head_dim=[24, 32]), teacher)
    assert found.refused == {"head_dim does not divide the teacher's 32": 1}


def test_more_heads_than_the_teacher_has_are_refused(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[384], head_dim=[16, 32]), teacher)
    assert found.refused == {"heads above the teacher's 12": 1}


def test_key_heads_are_given_as_numbers_or_by_the_group(llama: StudentSpec) -> None:
    assert dims(Space(hidden=[256], kv_heads=[2, 4]), llama, "heads", "kv_heads") == [(4, 2), (4, 4)]
    found = enumerated(Space(hidden=[256, 512], kv_group=[1, 2]), llama)
    assert [(spec.heads, spec.kv_heads) for spec in specs_of(found)] == [(4, 4), (4, 2), (8, 4)]
    assert found.refused == {"kv_heads above the teacher's 4": 1}


@pytest.mark.parametrize(
    ("space", "refused"),
    [
        ({"hidden": [256], "kv_heads": [1, 2, 3]}, {"heads are no multiple of kv_heads": 1, "more than the teacher's 2 query heads per key head": 1}),
        ({"hidden": [256, 512], "kv_group": [3, 2]}, {"heads are no multiple of kv_group": 2}),
        ({"hidden": [256, 512], "kv_group": [4, 2]}, {"more than the teacher's 2 query heads per key head": 2}),
        ({"hidden": [192, 512]}, {"heads are no multiple of the teacher's 2 query heads per key head": 1}),
    ],
)  # fmt: skip
def test_key_heads_that_cannot_be_are_refused(
    llama: StudentSpec, space: dict[str, Any], refused: dict[str, int]
) -> None:
    assert enumerated(Space.model_validate(space), llama).refused == refused


def test_key_heads_of_a_bert_are_its_heads(teacher: StudentSpec) -> None:
    found = enumerated(Space(hidden=[64, 128], kv_heads=[2]), teacher)
    assert found.refused == {"a bert has as many key as query heads": 1}


def test_every_length_of_input_is_a_student_of_its_own(teacher: StudentSpec) -> None:
    found = enumerated(Space(layers=[1, 2, 9], sequence=[32, 16]), teacher)
    assert [int(value) for value in found.sequence] == [16, 16, 32, 32]
    assert [spec.layers for spec in specs_of(found)] == [1, 2, 1, 2]
    assert (found.considered, found.refused) == (6, {"layers above the teacher's 6": 2})


def test_choices_that_are_part_of_no_student_are_trimmed(teacher: StudentSpec) -> None:
    space = Space(layers=[1, 2], hidden=list(range(16, 129, 8)), head_dim=[5, 16, 32], ffn=[64, 9999])
    small, density = trimmed(Grid(space, teacher, 64))
    assert {name: values.tolist() for name, values in small.axes.items()} == {
        "layers": [1, 2], "hidden": [16, 32, 48, 64, 80, 96, 112, 128], "head_dim": [16, 32], "ffn": [64, 9999]
    }  # fmt: skip
    assert density == 12 / 16
    before, after = (specs_of(enumerated(each, teacher)) for each in (space, small.space))
    assert before == after


def test_a_space_with_ties_is_not_trimmed(teacher: StudentSpec) -> None:
    grid = Grid(Space(hidden=[50, 64], ties={"ffn": "2 * hidden"}), teacher, 64)
    assert trimmed(grid) == (grid, 1.0)


@pytest.mark.parametrize("most", [1000, 4000, 40_000])
def test_a_thinned_space_keeps_a_student_just_below_each(teacher: StudentSpec, most: int) -> None:
    grid = Grid(Space(layers=list(range(1, 25)), hidden=[64, 128], ffn=list(range(8, 1537))), teacher, 64)
    part, within = thinned(grid, most)
    assert part.size <= most < grid.size
    assert within is not None
    assert part.axes["hidden"].tolist() == [64, 128]
    gaps = 1.0
    for name in ("layers", "ffn"):
        kept = part.axes[name]
        below = kept[np.searchsorted(kept, grid.axes[name], "right") - 1]
        gaps *= (grid.axes[name] / below).max()
        assert kept[-1] == grid.axes[name][-1]
    assert gaps <= 1 + within + 1e-12


@pytest.mark.parametrize("most", [4000, 40_000])
def test_with_tails_the_ffn_just_below_leaves_no_more_over(teacher: StudentSpec, most: int) -> None:
    grid = Grid(Space(layers=list(range(1, 25)), hidden=[64, 128], ffn=list(range(8, 1537))), teacher, 64)
    part, within = thinned(grid, most, tails=True)
    assert part.size <= most
    assert within is not None
    layers, ffn = part.axes["layers"], part.axes["ffn"]
    below = layers[np.searchsorted(layers, grid.axes["layers"], "right") - 1]
    slack = (1 + within) / (grid.axes["layers"] / below).max()
    for value in grid.axes["ffn"].tolist():
        assert any(value / slack - 1e-9 <= kept <= value and left_over(kept) <= left_over(value) for kept in ffn)


def test_a_space_that_must_be_thinned_in_width_promises_nothing(llama: StudentSpec) -> None:
    grid = Grid(Space(hidden=list(range(1, 513)), heads=list(range(1, 9)), kv_heads=[1, 2, 3, 4]), llama, 64)
    part, within = thinned(grid, 500)
    assert part.size <= 500
    assert within is None


def test_a_dimension_that_others_are_tied_to_is_not_thinned_with_a_promise(teacher: StudentSpec) -> None:
    grid = Grid(Space(layers=list(range(1, 100)), ffn=list(range(8, 108)), ties={"hidden": "32 * layers"}), teacher, 64)
    part, within = thinned(grid, 5000)
    assert len(part.axes["layers"]) == 99
    assert len(part.axes["ffn"]) <= 50
    assert within is not None
    assert thinned(grid, 200)[1] is None
