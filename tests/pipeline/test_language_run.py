"""A language model from its documents to its verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_language import stories
from tiny_recipe import Heard
from tiny_stories import write_recipe

from edgekd.errors import DataError, RecipeError, TeacherError
from edgekd.files import read_json
from edgekd.pipeline.run import Outcome, plan, run
from edgekd.recipe import load_recipe
from edgekd.record import AccuracyRecord, read_record
from edgekd.report.terminal import comparison_rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Heard, str]:
    folder, heard = tmp_path_factory.mktemp("stories"), Heard()
    recipe = write_recipe(folder)
    outcome = run(recipe, (), folder / "run", progress=heard)
    return folder / "run", outcome, heard, recipe


def record_of(root: Path, name: str) -> AccuracyRecord:
    record = read_record(root / "records" / f"accuracy-{name}.json")
    assert isinstance(record, AccuracyRecord)
    return record


def test_the_run_ends_in_a_verdict_over_all_limits(whole: Any) -> None:
    root, outcome, heard, _ = whole
    verdict = read_json(root / "verdict.json")
    assert outcome.exit_code == 0
    assert {criterion["metric"] for criterion in verdict["criteria"]} == {
        "latency.p50", "size", "perplexity", "perplexity_rise",
    }  # fmt: skip
    assert heard.ran == ["teacher", "size", "distill", "export", "bench", "gate", "report"]
    assert "perplexity" in heard.summaries["distill"]
    assert "next tokens right" in heard.summaries["teacher"]
    assert all("perplexity" in row[-1] for row in comparison_rows(root) if row[0].startswith("student"))
    assert comparison_rows(root)[0][3:5] == ("perplexity", "next-token accuracy")
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "% of next tokens right on the validation part" in page
    assert "(perplexity " in page
    assert "(cross entropy " not in page


def test_records_hold_the_loss_of_every_token_of_the_test_documents(whole: Any) -> None:
    root, *_ = whole
    records = {name: record_of(root, name) for name in ("teacher-fp32", "student-fp32", "student-int8")}
    tokens = {record.losses.tokens for record in records.values() if record.losses}
    assert len(tokens) == 1
    assert all(record.labels == records["teacher-fp32"].labels for record in records.values())
    student, teacher = (records[name].losses for name in ("student-fp32", "teacher-fp32"))
    assert student is not None
    assert teacher is not None
    judged = {row["metric"]: row for row in read_json(root / "verdict.json")["criteria"]}
    if read_json(root / "verdict.json")["precision"] == "fp32":
        assert judged["perplexity"]["estimate"] == pytest.approx(student.perplexity)
        assert judged["perplexity_rise"]["estimate"] == pytest.approx(student.perplexity / teacher.perplexity - 1)


def test_the_student_is_a_language_model_that_learned_from_kept_tokens(whole: Any) -> None:
    root, *_ = whole
    table = read_json(root / "student.json")
    assert (table["spec"]["labels"], table["spec"]["head"]) == (0, "language")
    assert math.exp(table["validation_loss"]) < 6
    best = min(record["validation_loss"] for record in table["history"])
    assert table["validation_loss"] == pytest.approx(best, rel=1e-5)
    assert read_json(root / "recipe.json")["distill"]["temperature"] == 1
    (cache,) = (root / "cache").glob("*/cache.json")
    assert json.loads(cache.read_text())["k"] == 16


def test_a_second_call_finds_everything_done(whole: Any) -> None:
    root, _, _, recipe = whole
    heard = Heard()
    run(recipe, (), root, progress=heard)
    assert heard.ran == []


def test_a_dry_run_tells_of_the_documents(whole: Any, tmp_path: Path) -> None:
    *_, recipe = whole
    told = "\n".join(plan(recipe, (), tmp_path / "elsewhere").data)
    assert "train" in told
    assert "30" in told


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, vocabulary=300)
    with pytest.raises(RecipeError, match="embedding table has 300 rows"):
        run(recipe, (), tmp_path / "run", only="teacher")


def test_an_untrained_teacher_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(TeacherError, match="frequencies of single tokens"):
        run(recipe, ("teacher.fine_tune=null",), tmp_path / "run", only="teacher")


def test_documents_that_stand_in_two_parts_are_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    passage = "\n\n".join(f"{number}. {text}" for number, text in enumerate(stories(3)))
    for part in ("train", "test"):
        (tmp_path / "data" / part / "same.txt").write_text(passage, encoding="utf-8")
    with pytest.raises(DataError, match="also stand in the training part"):
        run(recipe, (), tmp_path / "run", only="teacher")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distill.temperature=2.0", r"distill\.temperature is 2\.0, expected 1"),
        ("distill.loss=dist", "expected kl"),
        ("distill.hidden={weight: 1.0}", "are for classifiers"),
        ("task=text-classification", r"sla\.perplexity is a limit of language models"),
    ],
)
def test_what_no_language_model_has_is_refused_at_once(tmp_path: Path, override: str, message: str) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [override])


def test_language_models_are_taught_at_temperature_one_without_a_last_epoch_on_labels(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert (recipe.distill.temperature, recipe.distill.final_ce_epoch, recipe.distill.alpha) == (1, False, 0.9)
    assert load_recipe(write_recipe(tmp_path / "other"), ["distill.final_ce_epoch=true"]).distill.final_ce_epoch
