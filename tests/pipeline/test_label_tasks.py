"""Token and multi-label classification from the recipe to the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_labels import label_recipe

from edgekd.measures import f1_micro
from edgekd.pipeline.run import run
from edgekd.record import AccuracyRecord, read_record
from edgekd.report.terminal import comparison_rows
from edgekd.task import TASKS, TaskName


@pytest.mark.parametrize("task", ["token-classification", "multi-label-classification"])
def test_a_run_reaches_its_verdict(task: TaskName, tmp_path: Path) -> None:
    root = tmp_path / "run"
    outcome = run(label_recipe(tmp_path / "in", task), out=root)
    assert outcome.exit_code == 0, (root / "summary.md").read_text()
    student = json.loads((root / "students.json").read_text())
    assert student is not None
    records = [read_record(path) for path in sorted((root / "records").glob("accuracy-*.json"))]
    assert len(records) == 3
    for record in records:
        assert isinstance(record, AccuracyRecord)
        if task == "token-classification":
            # Six words, or five, in 48 sentences: one answer for each word, whatever tokens there are.
            assert len(record.labels) == 48 * 6 - 12
            assert record.metric == "accuracy"
            assert record.score_name == "entity F1"
            assert record.score is not None
            assert record.score > 0.6
        else:
            assert len(record.labels) == 48 * 3
            assert record.metric == "f1_micro"
            assert record.accuracy == f1_micro(record.predictions, record.labels) > 0.6
    page, words = (root / "report.html").read_text(encoding="utf-8"), TASKS[task]
    assert f"{words.score} at least" in page
    assert f"{words.score[:1].upper()}{words.score[1:]} by epoch" in page
    assert f"of the {words.units} of the validation part" in page
    assert ("entity F1" in page) == (task == "token-classification")
    titles = comparison_rows(root)[0]
    assert words.score in titles
    assert "accuracy" not in titles
    config = json.loads((root / "student" / "config.json").read_text())
    kind = {"token-classification": "ForTokenClassification", "multi-label-classification": "ForSequenceClassification"}
    assert config["architectures"][0].endswith(kind[task])
    if task == "multi-label-classification":
        assert config["problem_type"] == "multi_label_classification"
