"""The step distill: the student, what is known of it, and the teacher it must not be without."""

import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from tiny_recipe import TINY, Heard, run_tiny

from edgekd.distill import train
from edgekd.distill.evaluate import cross_entropy, predict_logits
from edgekd.distill.fidelity import fidelity
from edgekd.errors import InputError, RecordError
from edgekd.files import read_json, write_json
from edgekd.pipeline import distill as module
from edgekd.pipeline.begin import compared_s
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.distill import _max_length, chosen_student, inputs, work
from edgekd.pipeline.ledger import Ledger
from edgekd.pipeline.lesson import lesson
from edgekd.pipeline.saved import read_trained
from edgekd.recipe import load_recipe
from edgekd.sizing.files import read_students


def test_the_student_is_the_chosen_one_and_started_from_the_teacher(whole: Path, context: Context) -> None:
    table = read_json(whole / "student.json")
    assert table["spec"] == chosen_student(context).to_dict()
    assert table["initialisation"]["copied_parameters"] > 0
    assert table["teacher_validation_accuracy"] == read_json(whole / "teacher.json")["validation_accuracy"]
    assert 0 < table["validation_accuracy"] <= 1
    assert [epoch["alpha"] for epoch in table["history"]] == [0.9, 0.9, 0.0]


def test_teacher_and_student_are_compared_by_their_cross_entropy(
    first_run: tuple[Path, Heard], context: Context
) -> None:
    root, heard = first_run
    table = read_json(root / "student.json")
    kept = next(epoch for epoch in table["history"] if epoch["epoch"] == table["best_epoch"])
    taught = lesson(context, None)
    logits = predict_logits(taught.teacher, taught.validation, 64)
    assert table["teacher_validation_loss"] == pytest.approx(cross_entropy(logits, context.splits.validation.labels))
    assert table["validation_loss"] == pytest.approx(kept["validation_loss"], rel=1e-5)
    assert table["calibration_error"] == pytest.approx(kept["calibration_error"], rel=1e-4)
    assert table["stopped"] == "finished"
    assert table["fork"]["epoch"] == 3
    assert table["best_epoch"] == 3 or not table["fork"]["kept"]
    assert heard.summaries["distill"].endswith("; all epochs were run")


def test_what_is_known_of_the_students_fidelity_is_written_down(whole: Path, context: Context) -> None:
    table, taught = read_json(whole / "student.json"), lesson(context, None)
    student = read_trained(whole / "student", context.splits.label_names, context.recipe.task)
    own, its = (predict_logits(model, taught.validation, 64) for model in (student, taught.teacher))
    counts = np.bincount(context.splits.train.labels)
    expected = asdict(fidelity(own, its, context.splits.validation.labels, counts))
    assert table["warning"] == expected.pop("warning")
    assert {name: table[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert 0 < table["agreement"] < 1


def test_a_student_that_only_imitates_is_named_in_the_line_of_the_step(
    root: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_json(root / "student.json") | {"warning": "it imitates"}
    monkeypatch.setattr(module, "trained", lambda *_: dict(table))
    assert work(context, root / "work" / "distill-x").summary.endswith("; all epochs were run; warning: it imitates")


def test_the_weights_are_as_many_as_the_table_says(whole: Path) -> None:
    weights = safetensors.torch.load_file(whole / "student" / "model.safetensors")
    assert sum(value.numel() for value in weights.values()) == read_json(whole / "student.json")["parameters"]


def test_the_same_seed_gives_the_same_student(root: Path) -> None:
    before = read_json(root / "student.json"), (root / "student" / "model.safetensors").read_bytes()
    Ledger(root).forget("distill")
    shutil.rmtree(root / "attempts")
    _, heard = run_tiny(root, only="distill")
    assert heard.ran == ["distill"]
    assert [text for text in heard.said if text.startswith("distilling")]
    after = read_json(root / "student.json"), (root / "student" / "model.safetensors").read_bytes()
    timeless = [{key: value for key, value in table.items() if key != "seconds"} for table, _ in (before, after)]
    assert timeless[0] == timeless[1]
    assert before[1] == after[1]


def test_hidden_states_relations_and_schedules_leave_a_plain_student(root: Path) -> None:
    before = safetensors.torch.load_file(root / "student" / "model.safetensors")
    teacher = (root / "teacher" / "model.safetensors").read_bytes()
    shutil.rmtree(root / "attempts")
    _, heard = run_tiny(
        root, "distill.hidden={weight: 0.5}", "distill.relations={weight: {from: 1, to: 0}, heads: 4}",
        "distill.loss=standardised", "distill.alpha={from: 0.9, to: 0.5}", only="distill",
    )  # fmt: skip
    assert heard.ran == ["distill"]
    assert "storing what the teacher computes inside" in heard.said
    assert len(list((root / "cache").glob("*/cache.json"))) == 2
    after = safetensors.torch.load_file(root / "student" / "model.safetensors")
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert any((after[name] != before[name]).any() for name in after)
    assert (root / "teacher" / "model.safetensors").read_bytes() == teacher
    assert "edgekd" not in (root / "student" / "config.json").read_text()
    alphas = [epoch["alpha"] for epoch in read_json(root / "student.json")["history"]]
    assert 0.9 > alphas[0] > alphas[1] > 0.5
    assert alphas[2] == 0


def test_the_comparison_of_starts_counts_against_the_budget(
    root: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, loop = [], module.loop_of(context)
    real = train.train
    monkeypatch.setattr(
        train, "train", lambda *given, **more: limits.append(given[3].max_seconds) or real(*given, **more)
    )
    monkeypatch.setattr(module, "compared_s", lambda scratch: 100.0 + compared_s(scratch))
    scratch = root / "work" / "distill-counted"
    work(context, scratch)
    took = compared_s(scratch)
    assert took > 0
    assert limits == [pytest.approx(loop.left_s(loop.position) - 100 - took)]
    assert read_json(root / "student.json")["seconds"] > 100 + took


def test_layers_that_are_given_up_leave_a_plain_student(root: Path) -> None:
    before = safetensors.torch.load_file(root / "student" / "model.safetensors")
    shutil.rmtree(root / "attempts")
    run_tiny(root, "distill.drop_layers={until: 50 %}", "distill.epochs=3", only="distill")
    after = safetensors.torch.load_file(root / "student" / "model.safetensors")
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert any((after[name] != before[name]).any() for name in after)
    assert "edgekd" not in (root / "student" / "config.json").read_text()
    table = read_json(root / "student.json")
    assert [epoch.get("scaffold", 0) for epoch in table["history"]] == [1, 0, 0, 0]
    assert table["best_epoch"] > 1


def test_a_layer_that_the_chosen_student_does_not_have_is_named(root: Path) -> None:
    with pytest.raises(InputError, match="found layer 1 of the student, expected 0 to 0"):
        run_tiny(root, "distill.hidden={weight: 0.5, layers: [[1, 1]]}", only="distill")


def test_measured_times_do_not_make_it_run_again_but_another_choice_does(root: Path, context: Context) -> None:
    base = inputs_hash(inputs(context))
    write_json(root / "sizing.json", {"other": 1})
    assert inputs_hash(inputs(context)) == base
    table = read_json(root / "students.json")
    other = {row.id for row in read_students(root / "students.json").students} - {table["chosen"]}
    write_json(root / "students.json", table | {"chosen": next(iter(other))})
    assert inputs_hash(inputs(context)) != base


def test_the_settings_are_part_of_its_inputs(root: Path) -> None:
    keys = [
        inputs_hash(inputs(Context(load_recipe("quickstart", [*TINY, *more]), root, Path.cwd())))
        for more in ([], ["distill.alpha=0.5"], ["distill.seed=3"], ["budget.training=1 h"])
    ]
    assert len(set(keys)) == 3
    assert keys[3] == keys[0], "more time alone changes nothing about a training that ended by itself"


def test_the_data_it_learns_from_is_part_of_its_inputs(root: Path, context: Context) -> None:
    before = inputs_hash(inputs(context))
    table = read_json(root / "data.json")
    write_json(root / "data.json", table | {"train": "0" * 64})
    assert inputs_hash(inputs(context)) != before
    write_json(root / "data.json", table | {"test": "0" * 64})
    assert inputs_hash(inputs(context)) == before


def test_no_step_up_to_the_student_looks_at_the_test_part(root: Path, context: Context) -> None:
    before = (root / "student" / "model.safetensors").read_bytes()
    splits, asked = context.splits, []

    class Watched(type(splits.test)):  # type: ignore[misc]
        """A test part that tells of everyone who reads it."""

        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    test = splits.test
    watched = Watched(**{field.name: getattr(test, field.name) for field in fields(test)})
    context.splits = replace(splits, test=watched)
    asked.clear()
    work(context, root / "work" / "distill-watched")
    assert asked == []
    assert (root / "student" / "model.safetensors").read_bytes() == before
    assert context.splits.test.labels is not None
    assert asked == ["labels"]


def test_without_a_choice_there_is_nothing_to_distil(root: Path, context: Context) -> None:
    table = read_json(root / "students.json")
    write_json(root / "students.json", table | {"chosen": None})
    with pytest.raises(InputError, match="no student fits the SLA"):
        chosen_student(context)


def test_a_teacher_without_its_head_is_damaged(root: Path, context: Context) -> None:
    path = root / "teacher" / "model.safetensors"
    kept = {
        name: value for name, value in safetensors.torch.load_file(path).items() if not name.startswith("classifier")
    }
    safetensors.torch.save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="teacher is not up to date"):
        run_tiny(root, only="distill")
    with pytest.raises(RecordError, match="this folder is damaged"):
        work(context, root / "work" / "distill-x")


def test_texts_are_cut_at_the_length_that_was_chosen(tmp_path: Path) -> None:
    def max_length(*overrides: str) -> int | None:
        return _max_length(Context(load_recipe("sst2", overrides), tmp_path, tmp_path))

    assert max_length() is None
    write_json(tmp_path / "students.json", {"sequence": 16})
    assert max_length("bench={threads: 1}", "space.sequence=[16, 64]") == 16
