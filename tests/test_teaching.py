"""How a student is taught, as a recipe says it: numbers or schedules, and the losses that may be added."""

import json
import re
from pathlib import Path

import pytest

from edgekd.errors import RecipeError
from edgekd.recipe import BUILTIN, Recipe, load_recipe


def changed(*overrides: str) -> Recipe:
    return load_recipe("quickstart", [f"distill.{override}" for override in overrides])


def test_a_level_is_a_number_or_a_schedule() -> None:
    distill = changed("alpha={from: 1, to: 0.2, shape: cosine, until: 50 %}", "temperature={from: 8.0, to: 2}").distill
    assert distill.alpha.model_dump(by_alias=True) == {"from": 1.0, "to": 0.2, "shape": "cosine", "until": 0.5}
    assert distill.temperature.model_dump(by_alias=True) == {"from": 8.0, "to": 2.0, "shape": "linear", "until": 1.0}
    assert changed("alpha=0").distill.alpha == 0.0


def test_features_are_added_by_a_weight() -> None:
    distill = changed(
        "hidden={weight: 0.5}", "relations={weight: {from: 1.0, to: 0}, heads: 4, layers: [[0, 3]]}"
    ).distill
    assert distill.hidden.weight == 0.5
    assert distill.hidden.layers == "auto"
    assert distill.relations.weight.last == 0
    assert (distill.relations.heads, distill.relations.layers) == (4, [[0, 3]])


def test_what_the_teacher_computes_inside_is_stored_as_far_as_it_is_small() -> None:
    usual = changed().distill.cache
    assert (usual.features, usual.limit) == ("auto", 4_000_000_000)
    given = changed("cache={features: true, limit: 500 MB}").distill.cache
    assert (given.features, given.limit) == (True, 500_000_000)
    assert changed("cache={features: false}").distill.cache.features is False


def test_layers_are_given_up_until_a_share() -> None:
    assert changed().distill.drop_layers is None
    given = changed("drop_layers={}").distill.drop_layers
    assert given is not None
    assert given.until == 0.5


def test_what_a_recipe_says_is_read_back_the_same() -> None:
    recipe = changed(
        "alpha={from: 1, to: 0.2}", "hidden={weight: 0.5, layers: [[0, 1]]}", "loss=dist", "cache={limit: 1.5 GB}"
    )
    written = json.loads(json.dumps(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)["distill"]))
    again = load_recipe("quickstart", [f"distill={json.dumps(written)}"])
    assert again.distill == recipe.distill


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("alpha: 1.5", "distill.alpha: found 1.5, expected less than or equal to 1"),
        ("cache: {features: sometimes}", "distill.cache.features: found 'sometimes', expected 'auto', True or False"),
        ("cache: {limit: 0 MB}", "distill.cache.limit: found '0 MB', expected greater than 0"),
        ("alpha: much", "distill.alpha: found 'much', expected a valid number"),
        ("alpha: {from: 0.9, to: 1.5}", "distill.alpha.to: found 1.5, expected less than or equal to 1"),
        ("alpha: {from: 0.9}", "the key 'to' is missing in distill.alpha"),
        (
            "alpha: {from: 0.9, to: 0.1, shape: step}",
            "distill.alpha.shape: found 'step', expected 'linear' or 'cosine'",
        ),
        ("alpha: {from: 0.9, to: 0.1, until: 0 %}", "distill.alpha.until: found '0 %', expected greater than 0"),
        ("alpha: {from: 0.9, to: 0.1, until: 120 %}", "expected a share between 0 and 1"),
        (
            "alpha: {from: 0.9, to: 0.1, first: 1}",
            "unknown key 'first' in distill.alpha, expected one of from, shape, to, until",
        ),
        ("temperature: 0.5", "distill.temperature: found 0.5, expected greater than or equal to 1"),
        ("temperature: {from: 4, to: 21}", "distill.temperature.to: found 21"),
        ("loss: mse", "distill.loss: found 'mse', expected 'kl', 'reverse_kl'"),
        ("hidden: {weight: -1}", "distill.hidden.weight: found -1, expected greater than or equal to 0"),
        ("hidden: {layers: auto}", "the key 'weight' is missing in distill.hidden"),
        ("hidden: {weight: 1, layers: last}", "distill.hidden.layers: found 'last', expected 'auto'"),
        ("hidden: {weight: 1, layers: []}", "each student's once"),
        ("hidden: {weight: 1, layers: [[0, 1], [0, 2]]}", "each student's once"),
        ("hidden: {weight: 1, layers: [[0, 1, 2]]}", "at most 2 items"),
        ("hidden: {weight: 1, layers: [[0, -1]]}", "greater than or equal to 0"),
        ("relations: {weight: 1}", "the key 'heads' is missing in distill.relations"),
        ("relations: {weight: 1, heads: 0}", "greater than or equal to 1"),
        ("drop_layers: {until: 100 %}", "distill.drop_layers.until: found '100 %', expected less than 1"),
        ("drop_layers: {until: 0}", "distill.drop_layers.until: found 0, expected greater than 0"),
        ("drop_layers: {}, start: random", "has no layers of the teacher to give up"),
        ("drop_layers: {}, hidden: {weight: 1}", "drop_layers with hidden or relations"),
        ("drop_layers: {}, relations: {weight: 1, heads: 2}", "drop_layers with hidden or relations"),
    ],
)
def test_anything_else_is_refused_as_one_error_with_its_place(tmp_path: Path, given: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    whole = (BUILTIN / "quickstart.yaml").read_text()
    path.write_text(re.sub(r"(?m)^distill: .*$", f"distill: {{{given}}}", whole))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    line = path.read_text().splitlines().index(f"distill: {{{given}}}") + 1
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert "more)" not in str(caught.value)
