from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekd.errors import Diverged
from edgekd.student import StudentSpec
from edgekd.students.initialise import Initialisation
from edgekd.trials.bake_off import Start, compare_starts, methods_of_interest, steps_of_trial

TEACHER = StudentSpec(
    architecture="vit", layers=6, hidden=24, heads=6, ffn=40, labels=3, image_size=8, patch_size=4, channels=2
)
NARROW = replace(TEACHER, layers=3, hidden=12, heads=3, kv_heads=3)
INFLUENCE = [0.9, 0.1, 0.5, 0.1, 0.1, 0.4]
NOTHING = Initialisation(
    method="uniform", layer_map=[], channels=[], heads=[], kv_heads=[], neurons=[], head_rows=[], copied_parameters=0
)


class Tables:
    """A kitchen whose students are their starts, with losses from tables."""

    def __init__(self, before: dict[Any, float], after: dict[Any, float]) -> None:
        self.before, self.after = before, after
        self.tried: list[tuple[Start, int]] = []

    def begun(self, start: Start) -> tuple[Any, Initialisation]:
        return start, NOTHING

    def loss(self, student: Any) -> float:
        return self.before.get((student.method, student.layers), self.before[student.method])

    def distilled(self, student: Any, start: Start, steps: int) -> float:
        assert student == start
        self.tried.append((start, steps))
        found = self.after.get((start.method, start.layers), self.after.get(start.method))
        if found is None:
            raise Diverged("the loss is nan")
        return found


BEFORE: dict[Any, float] = {
    "random": 2.0, "uniform": 1.5, "magnitude": 1.4, "gates": 1.3, "importance": 1.2, "rotation": 1.0,
}  # fmt: skip


def test_the_best_method_is_tried_at_other_layers_and_the_lowest_loss_after_training_wins() -> None:
    kitchen = Tables(
        BEFORE | {("rotation", (0, 2, 5)): 0.9}, {"rotation": 0.5, "importance": 0.4, ("rotation", (0, 1, 2)): 0.3}
    )
    found = compare_starts(NARROW, TEACHER, [0.9, 0.1, 0.5, 0.6, 0.1, 0.4], kitchen, steps=20)
    assert {(entry.start.method, entry.start.layers) for entry in found} == {
        ("random", ()), ("uniform", (0, 2, 5)), ("magnitude", (0, 2, 5)), ("importance", (0, 2, 5)),
        ("gates", (0, 2, 5)),
        ("rotation", (0, 2, 5)), ("rotation", (0, 1, 2)), ("rotation", (0, 2, 3)),
    }  # fmt: skip
    # The three that began best are distilled; the rest keep their order behind them.
    assert [steps for _, steps in kitchen.tried] == [20] * 3
    assert found[0].start == Start("rotation", (0, 1, 2))
    assert found[0].trained == 0.3
    assert [entry.trained is None for entry in found] == [False] * 3 + [True] * 5
    assert [entry.initial for entry in found[3:]] == [1.2, 1.3, 1.4, 1.5, 2.0]


def test_methods_may_be_left_out() -> None:
    found = compare_starts(NARROW, TEACHER, INFLUENCE, Tables(BEFORE, {}), steps=0, without=("random", "magnitude"))
    assert {entry.start.method for entry in found} == {"uniform", "importance", "gates", "rotation"}


@pytest.mark.parametrize(("asked", "looked_at", "tried"), [(0, 1, 0), (2, 3, 0), (6, 7, 0), (7, 7, 1), (9, 7, 3)])
def test_when_time_is_over_the_best_that_is_known_is_taken(asked: int, looked_at: int, tried: int) -> None:
    kitchen, calls = Tables(BEFORE, dict.fromkeys(BEFORE, 1.0)), iter([False] * asked)
    found = compare_starts(NARROW, TEACHER, INFLUENCE, kitchen, steps=20, over=lambda: next(calls, True))
    assert (len(found), len(kitchen.tried)) == (looked_at, tried)
    assert [entry.trained is not None for entry in found] == [True] * tried + [False] * (looked_at - tried)
    assert found[0].initial == min(entry.initial for entry in found)


def test_one_that_diverges_is_behind_those_that_learn() -> None:
    kitchen = Tables(BEFORE, {"importance": 0.7})
    found = compare_starts(NARROW, TEACHER, [0.9, 0.1, 0.5, 0.1, 0.1, 0.4], kitchen, steps=20)
    assert {start.method for start, _ in kitchen.tried} == {"rotation", "importance"}
    assert found[0].start.method == "importance"
    assert [(entry.steps, entry.trained) for entry in found[1:3]] == [(20, None)] * 2


def test_without_steps_the_loss_before_training_decides() -> None:
    kitchen = Tables(BEFORE, {})
    found = compare_starts(NARROW, TEACHER, INFLUENCE, kitchen, steps=0)
    assert found[0].start == Start("rotation", (0, 2, 5))
    assert kitchen.tried == []


def test_maps_that_are_the_same_are_looked_at_once() -> None:
    kitchen = Tables(BEFORE, {})
    found = compare_starts(replace(NARROW, layers=6), TEACHER, INFLUENCE, kitchen, steps=0)
    assert len(found) == 6
    assert len({entry.start for entry in found}) == 6


def test_random_weights_that_begin_best_have_no_layers_to_choose() -> None:
    found = compare_starts(NARROW, TEACHER, INFLUENCE, Tables(BEFORE | {"random": 0.1}, {}), steps=0)
    assert found[0].start == Start("random", ())
    assert len(found) == 6


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TEACHER, ("uniform",)),
        (replace(TEACHER, layers=2), ("random", "uniform", "importance")),
        (NARROW, ("random", "uniform", "magnitude", "importance", "gates", "rotation")),
        (replace(TEACHER, ffn=20), ("random", "uniform", "magnitude", "importance", "rotation")),
    ],
)
def test_only_methods_that_differ_are_compared(spec: StudentSpec, expected: tuple[str, ...]) -> None:
    assert methods_of_interest(spec, TEACHER) == expected


def test_a_head_of_its_own_makes_no_method_worth_comparing_but_width_does() -> None:
    teacher = StudentSpec(architecture="llama", layers=4, hidden=24, heads=6, ffn=40, vocabulary=40, positions=24)
    assert teacher.tied
    assert methods_of_interest(replace(teacher, tied=False), teacher) == ("uniform",)
    assert methods_of_interest(replace(teacher, tied=False, layers=2), teacher) == ("random", "uniform", "importance")
    assert "rotation" in methods_of_interest(replace(teacher, tied=False, ffn=20), teacher)


def test_a_bert_is_never_rotated() -> None:
    teacher = StudentSpec(
        architecture="bert", layers=2, hidden=24, heads=6, ffn=40, vocabulary=40, positions=24, labels=2
    )
    assert "rotation" not in methods_of_interest(replace(teacher, ffn=20), teacher)


def test_a_trial_takes_a_twentieth_of_the_training_within_bounds() -> None:
    assert [steps_of_trial(steps) for steps in (20, 400, 1000, 100_000)] == [10, 20, 50, 60]


def test_what_is_kept_of_a_start_is_plain() -> None:
    found = compare_starts(NARROW, TEACHER, INFLUENCE, Tables(BEFORE, {"rotation": 0.5}), steps=10)
    assert found[0].to_dict() == {
        "method": "rotation", "layers": list(found[0].start.layers), "initial_loss": 1.0, "steps": 10, "trained_loss": 0.5,
    }  # fmt: skip
