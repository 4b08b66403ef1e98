"""Perplexity and its rise: each comparison pinned at its boundary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from edgekd.gate.judge import judge
from edgekd.gate.perplexity import perplexity_criterion, perplexity_rise_criterion
from edgekd.gate.verdict import Criterion, Verdict, value_text
from edgekd.sla import Sla

Make = Callable[..., Any]


def losses(perplexity: float, tokens: int = 1000) -> dict[str, Any]:
    return {"sum_nats": math.log(perplexity) * tokens, "tokens": tokens}


def _answer(found: Criterion) -> tuple[str, str]:
    return found.outcome.value, found.reason.value


def test_perplexity_is_compared_exactly(accuracy_record: Make) -> None:
    record = accuracy_record(5, 10, losses=losses(20.0))
    for limit, expected in ((20.0, ("pass", "KEPT")), (20.1, ("pass", "KEPT")), (19.99, ("fail", "MISSED"))):
        assert _answer(perplexity_criterion([record], limit)) == expected
    found = perplexity_criterion([record], 16.0)
    assert found.estimate == pytest.approx(20)
    assert (found.n, found.unit) == (1000, "perplexity")
    assert found.excess == pytest.approx(0.25)
    assert "20.00 on 1000 tokens" in found.text
    assert "1.25 times the limit of 16.00" in found.text


def test_of_several_data_sets_the_worst_counts(accuracy_record: Make) -> None:
    records = [
        accuracy_record(5, 10, losses=losses(value), dataset_sha256=letter * 64)
        for letter, value in (("a", 12.0), ("b", 30.0), ("c", 20.0))
    ]
    assert perplexity_criterion(records, 25.0).estimate == pytest.approx(30)


def test_a_rise_is_a_share_above_the_teachers(accuracy_record: Make) -> None:
    teacher = accuracy_record(6, 10, "teacher", artifact={"role": "teacher"}, losses=losses(20.0))
    record = accuracy_record(5, 10, losses=losses(21.0))
    for limit, expected in ((0.05, ("pass", "KEPT")), (0.049, ("fail", "MISSED")), (0.0, ("fail", "MISSED"))):
        assert _answer(perplexity_rise_criterion([record], [teacher], limit)) == expected
    found = perplexity_rise_criterion([record], [teacher], 0.02)
    assert found.estimate == pytest.approx(0.05)
    assert found.excess == pytest.approx(0.03)
    better = accuracy_record(5, 10, losses=losses(19.0))
    assert _answer(perplexity_rise_criterion([better], [teacher], 0.0)) == ("pass", "KEPT")


def test_without_evidence_nothing_is_kept(accuracy_record: Make) -> None:
    record, bare = accuracy_record(5, 10, losses=losses(20.0)), accuracy_record(5, 10)
    assert _answer(perplexity_criterion([], 20)) == ("inconclusive", "NO_ACCURACY_RECORD")
    assert _answer(perplexity_criterion([bare], 20)) == ("inconclusive", "NO_LOSSES")
    assert _answer(perplexity_rise_criterion([record], [], 0.1)) == ("inconclusive", "NO_TEACHER_RECORD")
    assert _answer(perplexity_rise_criterion([record], [bare], 0.1)) == ("inconclusive", "NO_TEACHER_RECORD")
    for changes in ({"losses": losses(20.0, 999)}, {"dataset_sha256": "e" * 64}, {"labels": [0] * 10}):
        other = accuracy_record(5, 10, "teacher", **({"losses": losses(20.0)} | changes))
        assert _answer(perplexity_rise_criterion([record], [other], 0.1)) == ("inconclusive", "OTHER_DATASET")


def test_losses_that_change_from_time_to_time_decide_nothing(accuracy_record: Make) -> None:
    records = [accuracy_record(5, 10, losses=losses(value)) for value in (20.0, 20.5)]
    assert _answer(perplexity_criterion(records, 30)) == ("inconclusive", "NOT_REPEATABLE")


def test_a_perplexity_beyond_all_numbers_fails(accuracy_record: Make) -> None:
    record = accuracy_record(5, 10, losses={"sum_nats": 1.0e6, "tokens": 1000})
    found = perplexity_criterion([record], 1000.0)
    assert _answer(found) == ("fail", "MISSED")
    assert found.estimate is None


def test_a_verdict_names_both_limits_and_survives_its_file(accuracy_record: Make) -> None:
    teacher = accuracy_record(6, 10, "teacher", artifact={"role": "teacher"}, losses=losses(20.0))
    record = accuracy_record(5, 10, losses=losses(21.0))
    verdict = judge([record, teacher], Sla.model_validate({"perplexity": 22, "perplexity_rise": "4 %"}))
    assert [(c.metric, *_answer(c)) for c in verdict.criteria] == [
        ("perplexity", "pass", "KEPT"), ("perplexity_rise", "fail", "MISSED"),
    ]  # fmt: skip
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    assert value_text(21.2345, "perplexity") == "21.23"
