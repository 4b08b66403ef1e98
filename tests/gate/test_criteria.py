"""Memory, size and accuracy: each comparison pinned at its boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.gate.criteria import accuracy_criterion, accuracy_drop_criterion, memory_criterion, size_criterion
from edgekd.gate.verdict import Criterion
from edgekd.task import TASKS, TaskName

Make = Callable[..., Any]
RUNS = [[1000], [1001], [1002]]


def _answer(found: Criterion) -> tuple[str, str]:
    return found.outcome.value, found.reason.value


def test_memory_passes_with_two_percent_to_spare_and_not_with_less(latency_record: Make) -> None:
    record = latency_record(RUNS, peaks=[1_000_000] * 3)
    assert _answer(memory_criterion([record], 1_020_000)) == ("pass", "KEPT")
    assert _answer(memory_criterion([record], 1_019_999)) == ("inconclusive", "TOO_CLOSE")
    assert _answer(memory_criterion([record], 1_000_000)) == ("inconclusive", "TOO_CLOSE")
    assert _answer(memory_criterion([record], 999_999)) == ("fail", "MISSED")


def test_memory_margin_grows_with_the_spread_of_the_runs(latency_record: Make) -> None:
    record = latency_record(RUNS, peaks=[900_000, 1_000_000, 1_100_000])
    found = memory_criterion([record], 1_430_000)
    assert _answer(found) == ("pass", "KEPT")
    assert (found.estimate, found.high, found.n, found.over) == (1_100_000, 1_430_000, 3, 0)
    assert _answer(memory_criterion([record], 1_429_999)) == ("inconclusive", "TOO_CLOSE")


def test_memory_needs_three_runs_to_pass_but_one_to_fail(latency_record: Make) -> None:
    record = latency_record(RUNS[:2], peaks=[100, 100])
    found = memory_criterion([record], 1000)
    assert (*_answer(found), found.needed) == ("inconclusive", "TOO_FEW_RUNS", 3)
    missed = memory_criterion([record], 80)
    assert _answer(missed) == ("fail", "MISSED")
    assert missed.text == "peak memory is 100 B, 1.25 times the limit of 80 B"


def test_memory_unknown_to_any_run_never_passes(latency_record: Make) -> None:
    partly = latency_record(RUNS, peaks=[100, None, 100])
    assert _answer(memory_criterion([partly], 10_000)) == ("inconclusive", "MEMORY_UNKNOWN")
    assert _answer(memory_criterion([partly], 99)) == ("fail", "MISSED")
    assert _answer(memory_criterion([latency_record(RUNS)], 10_000)) == ("inconclusive", "MEMORY_UNKNOWN")


def test_memory_of_an_accelerator_is_not_seen_by_the_process(latency_record: Make) -> None:
    record = latency_record(
        RUNS, peaks=[100] * 3, runtime={"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
    )
    found = memory_criterion([record], 10_000)
    assert _answer(found) == ("inconclusive", "MEMORY_UNSEEN")
    assert "CUDAExecutionProvider" in found.text
    assert _answer(memory_criterion([record], 99)) == ("fail", "MISSED")


def test_size_equal_to_the_limit_is_kept(latency_record: Make) -> None:
    artifact = latency_record(RUNS).artifact
    assert _answer(size_criterion([artifact], 1000)) == ("pass", "KEPT")
    found = size_criterion([artifact], 999)
    assert _answer(found) == ("fail", "MISSED")
    assert "0.1 % above the limit of 999 B" in found.text


def test_sizes_that_contradict_each_other_decide_nothing(latency_record: Make) -> None:
    artifact = latency_record(RUNS).artifact
    other = artifact.model_copy(update={"size_bytes": 1001})
    assert _answer(size_criterion([artifact, other], 5000)) == ("inconclusive", "SIZE_CONTRADICTED")


@pytest.mark.parametrize("percent", range(1, 101))
def test_accuracy_equal_to_the_limit_is_kept_at_every_percentage(
    percent: int, accuracy_record: Make, sla: Make
) -> None:
    limit = sla(accuracy=f"{percent} %").accuracy
    assert _answer(accuracy_criterion([accuracy_record(percent, 100)], limit)) == ("pass", "KEPT")
    assert _answer(accuracy_criterion([accuracy_record(10 * percent - 1, 1000)], limit)) == ("fail", "MISSED")


def test_accuracy_sentence_says_by_how_much(accuracy_record: Make) -> None:
    found = accuracy_criterion([accuracy_record(88, 100)], 0.9)
    assert found.text == "88 of 100 answers on sst2 are right (88.00 %), 2 points below the 90.00 % asked for"
    assert (found.n, found.over, found.estimate) == (100, 12, 0.88)
    assert found.excess == pytest.approx(0.02)


def test_accuracy_that_differs_between_two_tries_decides_nothing(accuracy_record: Make) -> None:
    records = [accuracy_record(95, 100), accuracy_record(96, 100)]
    assert _answer(accuracy_criterion(records, 0.9)) == ("inconclusive", "NOT_REPEATABLE")
    assert _answer(accuracy_drop_criterion(records, records, 0.9)) == ("inconclusive", "NOT_REPEATABLE")
    assert _answer(accuracy_criterion([records[0], records[0]], 0.9)) == ("pass", "KEPT")


def test_worst_of_several_data_sets_decides(accuracy_record: Make) -> None:
    records = [accuracy_record(95, 100), accuracy_record(85, 100, dataset="other", dataset_sha256="e" * 64)]
    found = accuracy_criterion(records, 0.9)
    assert _answer(found) == ("fail", "MISSED")
    assert "other" in found.text


def test_accuracy_drop_equal_to_the_limit_is_kept(accuracy_record: Make, sla: Make) -> None:
    teacher = accuracy_record(97, 100, "teacher")
    limit = sla(accuracy_drop="7 %").accuracy_drop
    assert _answer(accuracy_drop_criterion([accuracy_record(90, 100)], [teacher], limit)) == ("pass", "KEPT")
    found = accuracy_drop_criterion([accuracy_record(89, 100)], [teacher], limit)
    assert _answer(found) == ("fail", "MISSED")
    assert "8.00 points lost, 1 points more than the 7.00 allowed" in found.text


def test_accuracy_gained_against_the_teacher_keeps_even_a_drop_of_zero(accuracy_record: Make) -> None:
    teacher = accuracy_record(90, 100, "teacher")
    found = accuracy_drop_criterion([accuracy_record(92, 100)], [teacher], 0.0)
    assert _answer(found) == ("pass", "KEPT")
    assert "2.00 points gained" in found.text
    level = accuracy_drop_criterion([accuracy_record(90, 100)], [teacher], 0.0)
    assert "0.00 points lost" in level.text
    assert _answer(accuracy_drop_criterion([accuracy_record(89, 100)], [teacher], 0.0)) == ("fail", "MISSED")


def test_accuracy_drop_needs_the_same_questions(accuracy_record: Make) -> None:
    student = accuracy_record(90, 100)
    elsewhere = accuracy_record(90, 100, "teacher", dataset_sha256="e" * 64)
    relabelled = accuracy_record(100, 100, "teacher", labels=[1] * 99 + [0])
    for teacher in (elsewhere, relabelled):
        assert _answer(accuracy_drop_criterion([student], [teacher], 0.5)) == ("inconclusive", "OTHER_DATASET")


def test_best_teacher_is_the_one_to_keep_up_with(accuracy_record: Make) -> None:
    teachers = [accuracy_record(90, 100, "teacher"), accuracy_record(99, 100, "teacher-2")]
    assert _answer(accuracy_drop_criterion([accuracy_record(90, 100)], teachers, 0.05)) == ("fail", "MISSED")


@pytest.mark.parametrize("task", [name for name, words in TASKS.items() if words.metric == "accuracy"])
def test_the_task_of_the_record_says_what_was_counted(task: TaskName, accuracy_record: Make) -> None:
    words = TASKS[task]
    record, teacher = accuracy_record(88, 100, task=task), accuracy_record(95, 100, "teacher-a", task=task)
    assert accuracy_criterion([record], 0.9).text.startswith(words.counted_text(88, 100, "sst2", 0.88))
    found = accuracy_drop_criterion([record], [teacher], 0.05)
    assert found.text.startswith(f"{words.score} is 88.00 %, the teacher's 95.00 %: 7.00 points lost")
