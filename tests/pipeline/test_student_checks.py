"""What no student could be taught by is refused while nothing has been trained."""

from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import TINY, Heard, run_tiny
from tiny_text import texts, write_recipe

from edgekd.errors import RecipeError, SpecError
from edgekd.pipeline.run import run
from edgekd.pipeline.student_checks import check_dropping, check_losses, check_space
from edgekd.recipe import load_recipe
from edgekd.space import Space
from edgekd.student import StudentSpec

SIZES: dict[str, Any] = {"layers": 4, "hidden": 48, "heads": 4, "ffn": 96, "vocabulary": 20, "positions": 16}
BERT = StudentSpec(architecture="bert", labels=10, token_types=2, **SIZES)
LLAMA = StudentSpec(architecture="llama", labels=10, kv_heads=2, **SIZES)


def check(teacher: StudentSpec, *overrides: str, classes: int = 10) -> None:
    check_losses(load_recipe("quickstart", [*TINY, *overrides]), teacher, classes)


@pytest.mark.parametrize(
    ("teacher", "classes", "overrides", "said"),
    [
        (BERT, 2, ("distill.loss=standardised",), "needs at least 3 classes, and the data has 2"),
        (
            BERT, 10, ("distill.hidden={weight: 1, layers: [[0, 4]]}",),
            r"distill.hidden.layers: found layer 4 of the teacher, expected 0 to 3",
        ),
        (
            BERT, 10, ("distill.relations={weight: 1, heads: 4, layers: [[1, 3]]}",),
            r"distill.relations.layers: found layer 1 of the student, expected 0 to 0, for the space has students of 1 ",
        ),
        (BERT, 10, ("distill.relations={weight: 1, heads: 5}",), "the teacher's queries, keys or values may be 48 wide"),
        (BERT, 10, ("distill.relations={weight: 1, heads: 12}",), "the student's queries, keys or values may be 16"),
        (LLAMA, 10, ("distill.relations={weight: 1, heads: 16}",), "the teacher's queries, keys or values may be 24"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    teacher: StudentSpec, classes: int, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        check(teacher, *overrides, classes=classes)


def test_what_goes_together_passes() -> None:
    check(BERT)
    check(BERT, "distill.loss=standardised", classes=3)
    check(BERT, "distill.hidden={weight: 1, layers: [[0, 3]]}", "distill.relations={weight: 1, heads: 8}")
    check(LLAMA, "distill.relations={weight: 1, heads: 12}")
    check(BERT, "space={ties: {layers: hidden / 16}, hidden: [48]}", "distill.hidden={weight: 1, layers: [[2, 3]]}")


def test_a_space_without_a_student_is_refused_and_one_too_large_to_count_is_left_alone() -> None:
    check_space(Space(layers=[1, 9]), BERT)
    with pytest.raises(SpecError, match=r"space: all 1 combinations were refused"):
        check_space(Space(layers=[9]), BERT)
    huge = Space(layers=list(range(5, 1005)), hidden=list(range(12, 1012)), ffn=list(range(8, 1008)))
    check_space(huge, BERT)


@pytest.mark.parametrize("space", ["{hidden: [48]}", "{layers: [4]}"])
def test_layers_are_given_up_only_where_a_student_has_fewer(space: str) -> None:
    recipe = load_recipe("quickstart", [*TINY, f"space={space}", "distill.drop_layers={until: 50 %}"])
    with pytest.raises(
        RecipeError, match=r"drop_layers: every student of the space has 4 layers, as many as .* below 4"
    ):
        check_dropping(recipe, BERT)


def test_layers_may_be_given_up_where_some_student_has_fewer_or_nothing_is_given_up() -> None:
    drop = "distill.drop_layers={until: 50 %}"
    for space, *more in (
        ("{layers: [3, 4]}", drop),
        ("{layers: [1]}", drop),
        ("{ties: {layers: hidden / 16}, hidden: [48]}", drop),
        ("{layers: [4]}",),
    ):
        check_dropping(load_recipe("quickstart", [*TINY, f"space={space}", *more]), BERT)


def test_nothing_to_give_up_is_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="every student of the space has 2 layers, as many as the teacher"):
        run_tiny(tmp_path / "run", "space.layers=[2]", "distill.drop_layers={until: 50 %}", only="teacher")
    assert not (tmp_path / "run" / "teacher").exists()


def test_it_is_refused_before_the_teacher_is_trained(tmp_path: Path) -> None:
    parts = {"train": texts(120), "validation": texts(30, start=3000), "test": texts(30, start=1000)}
    heard = Heard()
    with pytest.raises(RecipeError, match="needs at least 3 classes"):
        run(write_recipe(tmp_path, **parts), ["distill.loss=standardised"], tmp_path / "run", progress=heard)
    assert not [text for text in heard.said if text.startswith("teaching")]
    with pytest.raises(SpecError, match="all 1 combinations were refused"):
        run_tiny(tmp_path / "digits", "space={layers: [3]}", only="teacher")
    with pytest.raises(RecipeError, match=r"relations\.heads is 5"):
        run_tiny(tmp_path / "digits", "distill.relations={weight: 1, heads: 5}", only="teacher")
