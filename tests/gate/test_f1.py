"""Limits on micro F1, where records hold pairs of example and label."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgekd.errors import RecordError
from edgekd.gate.criteria import accuracy_criterion, accuracy_drop_criterion
from edgekd.gate.verdict import Outcome
from edgekd.record import AccuracyRecord, Artifact, Runtime, read_record, record_from_json, write_record


def record(predictions: list[int], role: Any = "student", metric: Any = "f1_micro") -> AccuracyRecord:
    return AccuracyRecord(
        artifact=Artifact(name=role, sha256="a" * 64, size_bytes=1, role=role), created_utc="2026-01-01T00:00:00+00:00",
        dataset="d", split="test", dataset_sha256="b" * 64, predictions=predictions, labels=[1, 0, 1, 0, 0, 0],
        runtime=Runtime(name="onnxruntime", version="1", providers=["CPUExecutionProvider"], threads=1), metric=metric,
    )  # fmt: skip


def test_micro_f1_is_judged_and_not_the_share_of_right_pairs() -> None:
    half = record([1, 0, 0, 0, 0, 0])  # 5 of 6 pairs are right, F1 is 2/3
    found = accuracy_criterion([half], 0.7)
    assert found.outcome is Outcome.FAIL
    assert found.estimate == pytest.approx(2 / 3)
    assert "micro F1 of 6 pairs" in found.text
    assert accuracy_criterion([half], 0.66).outcome is Outcome.PASS


def test_a_loss_is_one_of_micro_f1() -> None:
    teacher = record([1, 0, 1, 0, 0, 0], "teacher")
    found = accuracy_drop_criterion([record([1, 0, 0, 0, 0, 0])], [teacher], 0.4)
    assert found.outcome is Outcome.PASS
    assert found.estimate == pytest.approx(1 / 3)
    assert "micro F1" in found.text
    assert accuracy_drop_criterion([record([1, 0, 0, 0, 0, 0])], [teacher], 0.3).outcome is Outcome.FAIL


def test_records_of_the_older_format_are_of_accuracy(tmp_path: Path) -> None:
    table = record([1, 0, 0, 0, 0, 0]).model_dump(mode="json")
    for key in ("metric", "score", "score_name"):
        table.pop(key)
    old = record_from_json(table | {"schema_version": "1.0"}, "old.json")
    assert isinstance(old, AccuracyRecord)
    assert old.accuracy == pytest.approx(5 / 6)
    write_record(record([1, 0, 0, 0, 0, 0]), tmp_path / "new.json")
    new = read_record(tmp_path / "new.json")
    assert isinstance(new, AccuracyRecord)
    assert (new.schema_version, new.accuracy) == ("1.3", pytest.approx(2 / 3))


def test_pairs_hold_0_or_1() -> None:
    table = record([1, 0, 0, 0, 0, 0]).model_dump(mode="json")
    with pytest.raises(RecordError, match="expected 0 or 1"):
        record_from_json(table | {"predictions": [2, 0, 0, 0, 0, 0]}, "odd.json")


def test_a_task_is_judged_by_its_own_metric() -> None:
    table = record([1, 0, 0, 0, 0, 0]).model_dump(mode="json")
    known = AccuracyRecord.model_validate(table | {"task": "multi-label-classification"})
    assert known.words.score == "micro F1"
    with pytest.raises(ValidationError, match="expected accuracy for the task causal-lm"):
        AccuracyRecord.model_validate(table | {"task": "causal-lm"})
