"""The step teacher: what it leaves, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import TINY, Heard, run_tiny
from tiny_text import WORDS, texts, tiny_bert, tiny_tokenizer, write_recipe

from edgekd.distill.settings import Progress
from edgekd.errors import EXIT_USAGE, DataError, RecipeError, TeacherError
from edgekd.files import read_json
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.lesson import lesson
from edgekd.pipeline.run import run
from edgekd.pipeline.saved import read_preprocessing, read_trained, save_model
from edgekd.pipeline.teacher import inputs, training_progress
from edgekd.recipe import load_recipe
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec


def _context(root: Path, *overrides: str) -> Context:
    return Context(load_recipe("quickstart", [*TINY, *overrides]), root, Path.cwd())


def test_the_teacher_is_described_with_its_data_and_its_history(whole: Path) -> None:
    table = read_json(whole / "teacher.json")
    assert table["spec"]["layers"] == 2
    assert table["spec"]["hidden"] == 32
    assert table["label_names"] == [str(digit) for digit in range(10)]
    assert table["trained"] is True
    assert 1 <= len(table["history"]) <= 5
    assert table["validation_accuracy"] == max(epoch["validation_accuracy"] for epoch in table["history"])
    assert table["data"]["train"] <= 600
    assert table["parameters"] > 10_000


def test_what_the_teacher_does_not_depend_on_does_not_make_it_again(tmp_path: Path) -> None:
    base = inputs_hash(inputs(_context(tmp_path)))
    for same in ("distill.temperature=2.0", "sla.latency.p50=9 ms", "space.layers=[2]", "bench.samples=30"):
        assert inputs_hash(inputs(_context(tmp_path, same))) == base, same
    for other in ("teacher.fine_tune.epochs=6", "data.seed=3", "teacher.architecture.ffn=96"):
        assert inputs_hash(inputs(_context(tmp_path, other))) != base, other


def test_a_model_in_a_folder_is_the_teacher_without_training(whole: Path, tmp_path: Path) -> None:
    model = [f"teacher.model={whole / 'teacher'}", "teacher.architecture=", "teacher.fine_tune="]
    _, heard = run_tiny(tmp_path / "run", *model, only="teacher")
    assert heard.ran == ["teacher"]
    table, original = read_json(tmp_path / "run" / "teacher.json"), read_json(whole / "teacher.json")
    assert table["trained"] is False
    assert table["history"] == []
    assert table["validation_accuracy"] == original["validation_accuracy"]
    assert table["spec"] == original["spec"]


def test_a_teacher_for_images_of_another_size_is_refused(whole: Path, tmp_path: Path) -> None:
    spec = StudentSpec.from_dict({**read_json(whole / "teacher.json")["spec"], "image_size": 16})
    save_model(build(spec, seed=0), None, read_preprocessing(whole / "teacher"), tmp_path / "other")
    model = [f"teacher.model={tmp_path / 'other'}", "teacher.architecture="]
    with pytest.raises(RecipeError, match=r"takes images of 16 pixels .* the data has 8"):
        run_tiny(tmp_path / "run", *model, only="teacher")


def test_a_teacher_that_learned_nothing_is_refused(tmp_path: Path) -> None:
    tune = "teacher.fine_tune={epochs: 1, learning_rate: 1.0e-9, batch_size: 64}"
    with pytest.raises(TeacherError) as refused:
        run_tiny(tmp_path / "run", tune, only="teacher")
    assert refused.value.exit_code == EXIT_USAGE
    assert not (tmp_path / "run" / "teacher.json").exists()
    assert Context(load_recipe("quickstart", TINY), tmp_path / "run", Path.cwd()).left_by("teacher") == {}


def _renamed(whole: Path, folder: Path, order: list[int]) -> list[str]:
    """The teacher of the whole run with its outputs in another `order` and without names for them, as overrides."""
    model = read_trained(whole / "teacher", [str(digit) for digit in range(10)], "image-classification")
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
    model.config.id2label = {number: f"LABEL_{number}" for number in range(10)}
    model.config.label2id = {name: number for number, name in model.config.id2label.items()}
    save_model(model, None, read_preprocessing(whole / "teacher"), folder)
    return [f"teacher.model={folder}", "teacher.architecture=", "teacher.fine_tune="]


def test_numbered_outputs_in_another_order_are_refused_by_what_they_answer(whole: Path, tmp_path: Path) -> None:
    straight = _renamed(whole, tmp_path / "straight", list(range(10)))
    run_tiny(tmp_path / "run", *straight, only="teacher")
    found, original = (read_json(root / "teacher.json") for root in (tmp_path / "run", whole))
    assert found["validation_accuracy"] == original["validation_accuracy"]
    swapped = _renamed(whole, tmp_path / "swapped", [1, 0, *range(2, 10)])
    with pytest.raises(RecipeError, match=r"another order than the classes of the data.*'0' as '1'.*'1' as '0'"):
        run_tiny(tmp_path / "other", *swapped, only="teacher")
    assert not (tmp_path / "other" / "teacher.json").exists()


def test_a_foreign_teacher_that_knows_nothing_is_refused(whole: Path, tmp_path: Path) -> None:
    model = build(StudentSpec.from_dict(read_json(whole / "teacher.json")["spec"]), seed=0)
    model.config.id2label = {digit: str(digit) for digit in range(10)}
    save_model(model, None, read_preprocessing(whole / "teacher"), tmp_path / "blank")
    override = [f"teacher.model={tmp_path / 'blank'}", "teacher.architecture=", "teacher.fine_tune="]
    with pytest.raises(TeacherError, match="A student cannot learn from it"):
        run_tiny(tmp_path / "run", *override, only="teacher")


def _taught(tmp_path: Path, recipe: str, *overrides: str) -> Heard:
    heard = Heard()
    run(recipe, overrides, tmp_path / "run", only="teacher", progress=heard)
    return heard


def test_what_is_wrong_with_the_data_is_told_before_the_training_and_kept(tmp_path: Path) -> None:
    train, test = texts(120), texts(40, start=1000)
    long = [f"{text} and then much more was said about this" for text in texts(10, start=2000)]
    recipe = write_recipe(
        tmp_path, train=[*train, ""], validation=[*texts(30, start=3000), *long], test=[*test, train[3]]
    )
    heard = _taught(tmp_path, recipe)
    table = read_json(tmp_path / "run" / "data.json")
    assert heard.warned == table["warnings"]
    assert [warning.partition(" ")[0] for warning in heard.warned] == ["1", "train:", "validation:"]
    assert "25.0 % of the texts are longer than 12 tokens" in heard.warned[2]
    assert (table["schema_version"], table["max_length"]) == ("1.1", 12)
    assert table["truncated"] == {"train": 0, "validation": 10, "test": 0}
    assert table["blank"] == {"train": 1, "validation": 0, "test": 0}
    leak = table["leakage"][1]
    assert (leak["part"], leak["other"], leak["same"], leak["nearly"]) == ("test", "train", 1, 0)
    assert leak["shown"][0]["text"] == train[3]
    splits = Context(load_recipe(recipe), tmp_path / "run", Path.cwd()).splits
    assert [table[name] for name in splits.parts] == [part.sha256 for part in splits.parts.values()]


def test_a_test_part_that_is_trained_on_is_refused_before_the_training(tmp_path: Path) -> None:
    train = texts(120)
    recipe = write_recipe(
        tmp_path, train=train, validation=texts(30, start=3000), test=[*texts(30, start=1000), *train[:10]]
    )
    heard = Heard()
    with pytest.raises(DataError, match=r"10 of 40 test examples \(25\.0 %\) also stand in the training part"):
        run(recipe, [], tmp_path / "run", only="teacher", progress=heard)
    assert not [text for text in heard.said if text.startswith("teaching")]
    heard = _taught(tmp_path, recipe, "data.drop_leaked=true")
    table = read_json(tmp_path / "run" / "data.json")
    assert (table["dropped"], table["examples"]["train"], heard.warned) == (10, 110, [])


def test_a_decoder_whose_tokenizer_has_no_padding_learns_and_is_filled_up_by_what_it_takes_for_padding(
    tmp_path: Path,
) -> None:
    spec = StudentSpec(
        architecture="gpt2", layers=1, hidden=32, heads=2, ffn=32, vocabulary=len(WORDS), positions=16, labels=2
    )
    config = config_from_spec(spec)
    config.pad_token_id, config.eos_token_id = None, WORDS.index("[PAD]")
    bare = tiny_tokenizer()
    bare.pad_token = None
    rows = [f"{text} {'the ' * (number % 3)}" for number, text in enumerate(texts(120))]
    parts = {"train": rows, "validation": texts(30, start=3000), "test": texts(30, start=1000)}
    recipe = write_recipe(tmp_path, **parts, model=build(spec, config, seed=0), tokenizer=bare)
    _taught(tmp_path, recipe)
    table = read_json(tmp_path / "run" / "teacher.json")
    assert table["validation_accuracy"] > 0.9
    assert read_trained(tmp_path / "run" / "teacher", ["bad", "good"], "text-classification").config.pad_token_id == 0
    found = lesson(Context(load_recipe(recipe), tmp_path / "run", Path.cwd()), None)
    assert found.pad == 0


def test_a_teacher_with_the_tokenizer_of_another_is_refused_before_the_training(tmp_path: Path) -> None:
    parts = {"train": texts(120), "validation": texts(30, start=3000), "test": texts(30, start=1000)}
    recipe = write_recipe(tmp_path, **parts, tokenizer=tiny_tokenizer([*WORDS, "more"]))
    with pytest.raises(RecipeError, match=r"its tokenizer gives numbers up to 14 \(token 'more'\)"):
        _taught(tmp_path, recipe)


def test_a_head_for_other_labels_is_told_before_another_is_taught(tmp_path: Path) -> None:
    model = tiny_bert(["sad", "glad"])
    recipe = write_recipe(
        tmp_path, train=texts(120), validation=texts(30, start=3000), test=texts(30, start=1000), model=model
    )
    with pytest.raises(RecipeError, match=r"trained for the labels glad, sad, the data has bad, good.*data\.labels"):
        _taught(tmp_path, recipe, "teacher.fine_tune=")
    (warned,) = _taught(tmp_path, recipe).warned
    assert "the labels glad, sad, the data has bad, good; a fresh one was drawn" in warned


def test_progress_shows_epoch_loss_and_accuracy(tmp_path: Path) -> None:
    context = _context(tmp_path)
    said: list[Any] = []
    context.progress.update = lambda text, share=None: said.append((text, share))  # type: ignore[method-assign]
    show = training_progress(context, "distilling")
    show(Progress(epoch=2, epochs=4, step=10, steps=40, loss=0.5, accuracy=0.9))
    show(Progress(epoch=1, epochs=4, step=0, steps=40, loss=2.0, accuracy=None))
    assert said[0] == ("distilling, epoch 2 of at most 4, loss 0.500, 90.0 % right", 0.25)
    assert said[1] == ("distilling, epoch 1 of at most 4, loss 2.000", 0.0)
