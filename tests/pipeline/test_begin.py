"""How a student begins: compared once, kept over a kill, and as the recipe says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import TINY, Heard

from edgekd.distill.scaffold import scaffolding
from edgekd.distill.settings import student_settings
from edgekd.errors import RecipeError
from edgekd.pipeline import begin as module
from edgekd.pipeline.begin import begin, check_start, compared_s, start_of
from edgekd.pipeline.context import Context
from edgekd.pipeline.distill import chosen_student
from edgekd.pipeline.lesson import lesson
from edgekd.recipe import load_recipe
from edgekd.trials.bake_off import Start


def context_with(root: Path, *settings: str) -> Context:
    return Context(load_recipe("quickstart", [*TINY, *settings]), root, Path.cwd())


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_starts_are_compared_and_the_best_is_taken(root: Path, tmp_path: Path) -> None:
    context = context_with(root)
    taught, spec = lesson(context, None), chosen_student(context)
    student, table = begin(context, taught, spec, tmp_path)
    compared = table["compared"]
    assert len(compared) > 1
    assert table["method"] == compared[0]["method"]
    assert table["layer_map"] == compared[0]["layers"]
    tried = [entry["trained_loss"] for entry in compared if entry["trained_loss"] is not None]
    assert tried == sorted(tried)
    assert len(tried) == min(3, len(compared))
    untried = [entry["initial_loss"] for entry in compared[len(tried) :]]
    assert untried == sorted(untried)
    # The short training is for the comparison alone: the student itself is at its start.
    again, _ = taught.student(spec, context.recipe.distill.seed, start_from(table))
    assert same(weights_of(student), weights_of(again))
    assert not student.training


def start_from(table: dict[str, Any]) -> Any:
    from edgekd.trials.bake_off import Start

    return Start(table["method"], tuple(table["layer_map"]))


def test_after_a_kill_nothing_is_compared_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_with(root)
    taught, spec = lesson(context, None), chosen_student(context)
    first, table = begin(context, taught, spec, tmp_path)

    def never(*_: Any) -> Any:
        raise AssertionError("compared a second time")

    monkeypatch.setattr(module, "_compared", never)
    second, known = begin(context, taught, spec, tmp_path)
    assert known == table
    assert same(weights_of(first), weights_of(second))


def test_the_time_of_the_comparison_is_known_also_after_a_kill(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_with(root)
    taught, spec = lesson(context, None), chosen_student(context)
    assert compared_s(tmp_path) == 0

    class Killed(BaseException):
        """Stands for the end of the process."""

    said: list[str] = []

    def update(text: str, share: float | None = None) -> None:
        said.append(text)
        if text.startswith("trying a start") and len(said) > 1:
            raise Killed

    monkeypatch.setattr(context.progress, "update", update)
    with pytest.raises(Killed):
        begin(context, taught, spec, tmp_path)
    before = compared_s(tmp_path)
    assert before > 0
    monkeypatch.undo()
    begin(context, taught, spec, tmp_path)
    whole = compared_s(tmp_path)
    assert whole > before
    begin(context, taught, spec, tmp_path)
    assert compared_s(tmp_path) == whole


def test_a_comparison_ends_with_the_budget(root: Path, tmp_path: Path) -> None:
    context = context_with(root)
    _, table = begin(context, lesson(context, None), chosen_student(context), tmp_path, left_s=0.0)
    assert [entry["steps"] for entry in table["compared"]] == [0]
    assert table["method"] == table["compared"][0]["method"]


@pytest.mark.parametrize("method", ["random", "uniform", "magnitude", "importance", "gates", "rotation"])
def test_a_start_that_the_recipe_names_is_not_compared(root: Path, tmp_path: Path, method: str) -> None:
    context = context_with(root, f"distill.start={method}")
    _, table = begin(context, lesson(context, None), chosen_student(context), tmp_path)
    assert table["method"] == method
    assert table["compared"] == []
    assert (table["copied_parameters"] == 0) is (method == "random")


@pytest.mark.parametrize("start", ["auto", "uniform", "rotation"])
def test_with_a_scaffold_it_is_the_student_of_all_layers_and_again_after_a_kill(
    root: Path, tmp_path: Path, start: str
) -> None:
    context = context_with(root, f"distill.start={start}", "distill.drop_layers={until: 50 %}")
    taught, spec = lesson(context, None), chosen_student(context)
    student, table = begin(context, taught, spec, tmp_path)
    assert {entry["method"] for entry in table["compared"]}.isdisjoint({"random"})
    assert len(table["heads"]) == len(table["layer_map"]) == spec.layers
    every = tuple(range(taught.teacher_spec.layers))
    deep, _ = taught.student(
        replace(spec, layers=len(every)), context.recipe.distill.seed, Start(table["method"], every)
    )
    settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
    before, inputs = weights_of(student), taught.samples[0]
    with torch.no_grad():
        alone = student(**inputs).logits
        with scaffolding(student, settings) as scaffold:
            assert scaffold is not None
            scaffold.left = scaffold.count
            torch.testing.assert_close(student.train()(**inputs).logits, deep(**inputs).logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(student.eval()(**inputs).logits, alone)
    assert not torch.allclose(alone, deep(**inputs).logits, atol=1e-3)
    again, known = begin(context, taught, spec, tmp_path)
    assert known == table
    assert same(before, weights_of(again))


def test_a_scaffold_of_no_layers_is_told_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    context = context_with(root, "distill.start=uniform", "distill.drop_layers={until: 50 %}")
    heard = Heard()
    context = replace(context, progress=heard)
    taught, spec = lesson(context, None), chosen_student(context)
    begin(context, taught, spec, tmp_path / "fewer")
    assert heard.warned == []
    deep = replace(spec, layers=taught.teacher_spec.layers)
    student, _ = begin(context, taught, deep, tmp_path / "all")
    (told,) = heard.warned
    assert told == (
        f"distill.drop_layers: {deep.name} has all 2 layers of the teacher, so there is none to give up; it is trained "
        "without a scaffold"
    )
    plain, _ = begin(context_with(root, "distill.start=uniform"), taught, deep, tmp_path / "plain")
    assert same(weights_of(student), weights_of(plain))


def test_the_start_of_a_trial_is_what_mostly_wins(root: Path) -> None:
    context = context_with(root)
    taught, spec = lesson(context, None), chosen_student(context)
    narrower = spec.hidden < taught.teacher_spec.hidden
    assert start_of(context, taught, spec).method == ("rotation" if narrower else "importance")
    assert start_of(context, taught, taught.teacher_spec).method == "importance"
    assert start_of(context_with(root, "distill.start=random"), taught, spec).layers == ()


def test_the_teacher_is_weighed_on_some_of_the_training_part(root: Path) -> None:
    taught = lesson(context_with(root), None)
    examples = sum(len(batch["pixel_values"]) for batch in taught.samples)
    assert examples == min(256, len(taught.train))
    assert set(taught.samples[0]) == {"pixel_values"}
    assert taught.importance.heads.shape == (taught.teacher_spec.layers, taught.teacher_spec.heads)


def test_a_start_that_the_teacher_does_not_allow_is_refused_before_it_is_trained() -> None:
    recipe = load_recipe("sst2", ["distill.start=rotation"])
    with pytest.raises(RecipeError, match=r"which a bert does not allow.*Expected auto or one of random, uniform"):
        check_start(recipe, "bert")
    check_start(recipe, "gpt2")
    check_start(load_recipe("sst2"), "bert")


def test_random_embeddings_are_not_frozen() -> None:
    with pytest.raises(RecipeError, match="would leave the embeddings random"):
        load_recipe("sst2", ["distill.start=random", "distill.freeze_embeddings=true"])
