"""The recipe says what the user wants; contradictions are refused before any work."""

from pathlib import Path

import pytest

from edgekd.errors import RecipeError
from edgekd.recipe import Recipe, builtin_recipes, load_recipe
from edgekd.task import TASK_NAMES


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_recipe_that_ships_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.sla.latency


def test_the_recipes_of_the_readme_ship() -> None:
    assert {"quickstart", "sst2"} <= set(builtin_recipes())


def test_choices_are_a_number_a_list_or_a_range() -> None:
    found = load_recipe("quickstart", ["space.layers=3", "space.hidden=[32, 64]", "space.ffn={from: 64, to: 128, step: 32}", "space.ffn_ratio="]).space  # fmt: skip
    assert (found.layers, found.hidden, found.ffn) == ([3], [32, 64], [64, 96, 128])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.layerz=3", "unknown key 'layerz' in space"),
        (
            "space.layers={from: 1, to: 3, stp: 1}",
            "unknown key 'stp' in space.layers, expected one of from, step, to. Did you mean 'step'",
        ),
        ("space={layers: 3, hiden: 4}", "unknown key 'hiden' in space, expected one of ffn"),
        ("space.layers=[]", "the list is empty"),
        ("space.layers={from: 3, to: 1}", "is empty; swap the two"),
        ("space.layers=[0]", "greater than or equal to 1"),
        ("space.ffn=[64]", "either ffn or ffn_ratio"),
        ("space.hidden={from: 1, to: 900000}", "the range holds 900000 values"),
        ("space={kv_heads: [1], kv_group: [2]}", "either kv_heads or kv_group"),
        ("space.ties={ffn: 4 * hidden}", "ties.ffn and ffn_ratio contradict each other"),
        ("space.ties={hidden: 64 * heads}", "ties.hidden and hidden contradict each other"),
        ("space={ties: {hidden: 64 * heads}}", "ties.hidden goes in a circle"),
        ("space={ties: {layers: hidden / 64, hidden: 2 * ffn, ffn: layers}}", "goes in a circle"),
        ("space={ties: {heads: hidden - 64}}", "found 'hidden - 64', expected another dimension times or by a number"),
        ("space={ties: {heads: hidden / 0}}", "found 'hidden / 0'"),
        ("space={ties: {head_dim: hidden / 4}}", "found 'head_dim', expected 'layers', 'hidden'"),
        ("space.sequence=[8]", "space.sequence has no meaning for images"),
        ("search.compare=lower", "'upper' or 'middle'"),
        ("space.max_share=0.5 %", "min_share must be below max_share"),
        ("distill.epochs=0", "greater than or equal to 1"),
        ("distill.alpha=2", "less than or equal to 1"),
        ("distill.layer_decay=0", "greater than 0"),
        ("distill.precision=fp8", "'fp32' or 'bf16'"),
        ("teacher.fine_tune.precision=fp16", "'fp32' or 'bf16'"),
        ("distill.learning_rate=2.0", "less than 1"),
        ("teacher.model=x", "either model or architecture"),
        ("teacher.fine_tune=", "would stay untrained"),
        ("task=text-classification", "needs the task image-classification"),
        ("bench.sequence=8", "no meaning for images"),
        ("bench.duration=0 s", "greater than 0"),
        ("bench.processes=2", "greater than or equal to 3"),
        ("budget.training=0 s", "greater than 0"),
        (
            "budget.measuring=5 s",
            "bench takes at least 19.5 s (3 artifacts, 5 processes each), budget.measuring allows 5.00 s",
        ),
        ("precisions=[fp8]", "'fp32', 'fp16', 'int8', 'int4', 'fp32-fused' or 'int8-fused'"),
        ("precisions=[]", "expected some of fp16, fp32, fp32-fused, int4, int8, int8-fused"),
        ("precisions=[int8, int8]", "each once"),
        ("sla.latency.p95=1 ms", "limit of p50 is above that of p95"),
        ("sla.latency.q95=1 ms", "expected a percentile"),
        ("name=Bad Name", "match pattern"),
    ],
)
def test_contradictions_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("quickstart", [override])
    assert message in str(caught.value)


def test_a_limit_on_energy_is_read_like_one_of_an_sla_file() -> None:
    assert load_recipe("quickstart", ["sla.energy=20 mJ"]).sla.energy == 0.02
    with pytest.raises(RecipeError, match="mJ"):
        load_recipe("quickstart", ["sla.energy=20"])


def test_a_sequence_longer_than_the_text_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"longer than data\.max_length"):
        load_recipe("sst2", ["bench.sequence=500"])
    with pytest.raises(RecipeError, match=r"space\.sequence 500 is longer than data\.max_length"):
        load_recipe("sst2", ["bench={threads: 1}", "space.sequence=[32, 500]"])


def test_a_length_of_input_is_either_given_or_chosen() -> None:
    with pytest.raises(RecipeError, match=r"either bench\.sequence or space\.sequence"):
        load_recipe("sst2", ["space.sequence=[32, 64]"])
    assert load_recipe("sst2", ["bench={threads: 1}"]).sequence == 64
    assert load_recipe("sst2", ["bench={threads: 1}", "space.sequence=[32, 16]"]).sequence == 32


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"Did you mean 'quickstart'"):
        load_recipe("quikstart")


def test_a_recipe_of_the_users_own_is_found_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml:1: the key 'task' is missing"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task=multi-label-classification", "distill.loss=dkd"], "only kl has a meaning"),
        (["data.label=[a, b]"], "only multi-label-classification"),
        (["data.format=conll"], "set task: token-classification"),
        (["task=token-classification", "data.text_pair=b"], "data.text_pair has no meaning"),
    ],
)
def test_what_makes_no_sense_for_a_task_is_refused_before_anything_runs(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("sst2", overrides)


def test_a_recipe_of_every_task_that_was_written_out_is_read_back() -> None:
    """Written out it says every key, also those that have no meaning for its task."""
    base = {
        "name": "r", "teacher": {"model": "somewhere"}, "data": {"source": "x"}, "device": "generic-x86-64",
        "sla": {"latency": {"p50": "1 s"}},
    }  # fmt: skip
    for task in TASK_NAMES:
        recipe = Recipe.model_validate({**base, "task": task})
        written = {name: getattr(recipe, name).model_dump(mode="json") for name in ("teacher", "data", "distill")}
        assert Recipe.model_validate({**base, "task": task, **written}) == recipe
