"""The step teacher: what it leaves, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import TINY, run_tiny

from edgekd.distill.settings import Progress
from edgekd.errors import RecipeError, TrainingError
from edgekd.files import read_json
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.saved import read_preprocessing, save_model
from edgekd.pipeline.teacher import inputs, training_progress
from edgekd.recipe import load_recipe
from edgekd.student import StudentSpec
from edgekd.students.build import build


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
    with pytest.raises(TrainingError):
        run_tiny(tmp_path / "run", tune, only="teacher")
    assert not (tmp_path / "run" / "teacher.json").exists()
    assert Context(load_recipe("quickstart", TINY), tmp_path / "run", Path.cwd()).left_by("teacher") == {}


def test_progress_shows_epoch_loss_and_accuracy(tmp_path: Path) -> None:
    context = _context(tmp_path)
    said: list[Any] = []
    context.progress.update = lambda text, share=None: said.append((text, share))  # type: ignore[method-assign]
    show = training_progress(context, "distilling")
    show(Progress(epoch=2, epochs=4, step=10, steps=40, loss=0.5, accuracy=0.9))
    show(Progress(epoch=1, epochs=4, step=0, steps=40, loss=2.0, accuracy=None))
    assert said[0] == ("distilling, epoch 2 of at most 4, loss 0.500, 90.0 % right", 0.25)
    assert said[1] == ("distilling, epoch 1 of at most 4, loss 2.000", 0.0)
