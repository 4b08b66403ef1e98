"""From records to one verdict: every limit, the whole, and the choice among artifacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekd.errors import InputError
from edgekd.gate.judge import choose, exit_code, judge
from edgekd.gate.verdict import Criterion, Outcome, Verdict
from edgekd.record import PairedRecord
from edgekd.stats import fail_count

MS = 1_000_000
Make = Callable[..., Any]


def _only(verdict: Verdict) -> Criterion:
    assert len(verdict.criteria) == 1
    return verdict.criteria[0]


def _answer(verdict: Verdict) -> tuple[str, str]:
    found = _only(verdict)
    return found.outcome.value, found.reason.value


def test_all_limits_kept_is_a_pass(latency_record: Make, accuracy_record: Make, steady: Make, sla: Make) -> None:
    limits = sla(
        latency={"p95": "10 ms", "p50": "5 ms"}, memory="60 MB", size="1 kB", accuracy="90 %", accuracy_drop="2 %"
    )
    records = [
        latency_record(steady(3, 200), peaks=[50_000_000] * 3),
        accuracy_record(90, 100),
        accuracy_record(92, 100, "teacher", artifact={"role": "teacher"}),
    ]
    verdict = judge(records, limits)
    assert verdict.outcome is Outcome.PASS
    assert exit_code(verdict) == 0
    metrics = [criterion.metric for criterion in verdict.criteria]
    assert metrics == ["latency.p50", "latency.p95", "memory", "size", "accuracy", "accuracy_drop"]
    assert verdict.artifact == "student-a"
    assert verdict.median_latency_s == pytest.approx(0.004, rel=0.02)
    assert (verdict.device, verdict.host, verdict.runtime) == ("rpi5", "board", "onnxruntime 1.24")
    assert verdict.text == "PASS: student-a (fp32) on rpi5 keeps 6 of 6 limits"
    assert verdict.alternatives == ()


def test_one_missed_limit_fails_the_whole_even_beside_an_open_one(
    latency_record: Make, steady: Make, sla: Make
) -> None:
    verdict = judge([latency_record(steady(3, 200))], sla(latency={"p95": "10 ms"}, size="999 B", accuracy="50 %"))
    assert [c.outcome.value for c in verdict.criteria] == ["pass", "fail", "inconclusive"]
    assert verdict.outcome is Outcome.FAIL
    assert exit_code(verdict) == 1


def test_a_limit_without_evidence_never_passes(
    latency_record: Make, accuracy_record: Make, steady: Make, sla: Make
) -> None:
    timed, asked = latency_record(steady(3, 200)), accuracy_record(9, 10)
    cases = (
        ([asked], {"latency": {"p95": "1 h"}}, "NO_LATENCY_RECORD"),
        ([asked], {"memory": "999 GB"}, "NO_LATENCY_RECORD"),
        ([timed], {"memory": "999 GB"}, "MEMORY_UNKNOWN"),
        ([timed], {"accuracy": "1 %"}, "NO_ACCURACY_RECORD"),
        ([timed], {"accuracy_drop": "99 %"}, "NO_ACCURACY_RECORD"),
        ([asked], {"accuracy_drop": "99 %"}, "NO_TEACHER_RECORD"),
    )
    for records, limits, reason in cases:
        verdict = judge(records, sla(**limits))
        assert _answer(verdict) == ("inconclusive", reason)
        assert exit_code(verdict) == 3


def test_fail_evidence_is_shared_among_the_percentiles_and_pass_evidence_is_not(
    latency_record: Make, steady: Make, sla: Make
) -> None:
    record = latency_record(steady(5, 200, fail_count(1000, 0.95, 0.05)))
    alone = judge([record], sla(latency={"p95": "10 ms"}))
    beside = judge([record], sla(latency={"p95": "10 ms", "p50": "10 ms"}))
    assert _only(alone).outcome is Outcome.FAIL
    assert [c.outcome.value for c in beside.criteria] == ["pass", "inconclusive"]
    edge = latency_record(steady(5, 200, 38))
    both = judge([edge], sla(latency={"p95": "10 ms", "p50": "10 ms"}))
    assert both.outcome is Outcome.PASS


def test_confidence_of_the_sla_is_used(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record(steady(1, 59))
    assert judge([record], sla(latency={"p95": "10 ms"})).outcome is Outcome.PASS
    stricter = judge([record], sla(latency={"p95": "10 ms"}, confidence=0.99))
    assert _answer(stricter) == ("inconclusive", "TOO_FEW_SAMPLES")
    assert _only(stricter).needed == 90
    assert stricter.confidence == 0.99


def test_a_record_given_twice_is_one_measurement(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record(steady(1, 58), peaks=[1000])
    later = record.model_copy(update={"created_utc": "2026-02-01T00:00:00Z"})
    verdict = judge([record, record, later], sla(latency={"p95": "10 ms"}, memory="1 GB"))
    assert [c.reason.value for c in verdict.criteria] == ["TOO_FEW_SAMPLES", "TOO_FEW_RUNS"]
    assert verdict.criteria[0].n == 58


def test_records_of_one_artifact_under_the_same_conditions_are_pooled(
    latency_record: Make, steady: Make, sla: Make
) -> None:
    limits = sla(latency={"p95": "10 ms"})
    two = [latency_record(steady(1, 58)), latency_record(steady(1, 57))]
    assert _only(judge(two, limits)).n == 115
    assert judge(two, limits) == judge(two[::-1], limits)
    moved = [two[0], latency_record(steady(1, 57), host={"governor": "powersave"})]
    verdict = judge(moved, limits)
    assert _answer(verdict) == ("inconclusive", "MIXED_CONDITIONS")
    assert "governor: performance and powersave" in _only(verdict).text
    assert verdict.median_latency_s is None


def test_throttled_board_is_inconclusive(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record(steady(3, 200), host={"throttled_after": "throttled=0x20002"})
    assert _answer(judge([record], sla(latency={"p95": "10 ms"}))) == ("inconclusive", "THROTTLED")


def test_runs_that_left_no_samples_block_a_pass(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record(steady(3, 200), protocol={"processes": 4})
    assert _answer(judge([record], sla(latency={"p95": "10 ms"}))) == ("inconclusive", "RUNS_MISSING")


def test_paired_records_are_passed_over(latency_record: Make, steady: Make, sla: Make) -> None:
    timed = latency_record(steady(3, 200))
    table = timed.model_dump(mode="json", exclude={"runs", "kind"})
    run = {"model_ns": [1], "sentinel_ns": [1, 1], "load_ns": 1}
    paired = PairedRecord.model_validate(table | {"sentinel_sha256": "a" * 64, "run": run})
    assert _only(judge([paired, timed], sla(latency={"p95": "10 ms"}))).n == 600
    with pytest.raises(InputError, match="no latency or accuracy record"):
        judge([paired], sla(latency={"p95": "10 ms"}))
    with pytest.raises(InputError, match="no latency or accuracy record"):
        judge([], sla(latency={"p95": "10 ms"}))


def test_fastest_passing_artifact_is_selected_and_the_others_stand_beside(
    latency_record: Make, steady: Make, sla: Make
) -> None:
    records = [
        latency_record(steady(3, 200, fast=6 * MS), "slow"),
        latency_record(steady(3, 200, fast=4 * MS), "fast"),
        latency_record(steady(3, 200, fast=2 * MS), "big", artifact={"size_bytes": 3000}),
    ]
    verdict = judge(records, sla(latency={"p95": "10 ms"}, size="2 kB"))
    assert verdict.artifact == "fast"
    assert verdict.outcome is Outcome.PASS
    assert [(other.artifact, other.outcome.value) for other in verdict.alternatives] == [
        ("slow", "pass"),
        ("big", "fail"),
    ]


def test_without_a_pass_the_nearest_is_selected(latency_record: Make, steady: Make, sla: Make) -> None:
    limits = sla(latency={"p95": "10 ms"})
    far, near = (
        latency_record(steady(3, 200, fast=30 * MS), "far"),
        latency_record(steady(3, 200, fast=11 * MS), "near"),
    )
    open_ = latency_record(steady(1, 20, fast=9 * MS), "open")
    assert judge([far, near], limits).artifact == "near"
    assert judge([far, near], limits).outcome is Outcome.FAIL
    verdict = judge([far, near, open_], limits)
    assert (verdict.artifact, verdict.outcome) == ("open", Outcome.INCONCLUSIVE)
    assert [other.artifact for other in verdict.alternatives] == ["near", "far"]


def test_choosing_again_gives_the_same(latency_record: Make, steady: Make, sla: Make) -> None:
    records = [latency_record(steady(3, 200, fast=fast * MS), f"s{fast}") for fast in (3, 5, 7)]
    verdict = judge(records, sla(latency={"p95": "10 ms"}))
    again = choose([*verdict.alternatives, verdict])
    assert again == verdict
    with pytest.raises(InputError, match="no verdict"):
        choose([])


def test_teacher_is_judged_only_when_named_or_alone(latency_record: Make, steady: Make, sla: Make) -> None:
    limits = sla(latency={"p95": "10 ms"})
    teacher = latency_record(steady(3, 200, fast=2 * MS), "teacher", artifact={"role": "teacher"})
    student = latency_record(steady(3, 200), "student-a")
    verdict = judge([teacher, student], limits)
    assert (verdict.artifact, verdict.alternatives) == ("student-a", ())
    assert judge([teacher, student], limits, artifact="teacher").role == "teacher"
    assert judge([teacher], limits).artifact == "teacher"


def test_artifact_is_found_by_name_or_hash_and_otherwise_named_options_are_given(
    latency_record: Make, steady: Make, sla: Make
) -> None:
    limits = sla(latency={"p95": "10 ms"})
    a = latency_record(steady(3, 200), "a")
    twin = latency_record(steady(3, 201), "a", artifact={"sha256": "e" * 64})
    b = latency_record(steady(3, 202), "b")
    assert judge([a, b], limits, artifact="b").artifact == "b"
    assert judge([a, twin, b], limits, artifact="e" * 64).sha256 == "e" * 64
    with pytest.raises(InputError, match="no record of the artifact 'c', expected one of a, b"):
        judge([a, b], limits, artifact="c")
    with pytest.raises(InputError, match="2 artifacts are named 'a'"):
        judge([a, twin, b], limits, artifact="a")


def test_role_is_the_one_that_any_record_gives(
    latency_record: Make, accuracy_record: Make, steady: Make, sla: Make
) -> None:
    records = [
        latency_record(steady(3, 200), "teacher", artifact={"role": "other"}),
        accuracy_record(95, 100, "teacher", artifact={"role": "teacher"}),
        accuracy_record(94, 100),
    ]
    verdict = judge(records, sla(accuracy_drop="1 %"))
    assert (verdict.artifact, verdict.outcome, verdict.alternatives) == ("student-a", Outcome.PASS, ())


def test_notes_tell_what_the_numbers_do_not_cover(
    latency_record: Make, accuracy_record: Make, steady: Make, sla: Make
) -> None:
    unknown = {"throttled_before": None, "throttled_after": None}
    records = [
        latency_record(steady(1, 600), host=unknown, warnings=["clock is coarse\n\x1b[31m"]),
        accuracy_record(9, 10, runtime={"name": "torch", "version": "2", "providers": ["cpu"], "threads": 1}),
    ]
    notes = "\n".join(judge(records, sla(latency={"p95": "10 ms"})).notes)
    for part in ("throttled is not known", "One process run only"):
        assert part in notes
    assert "clock is coarse" not in notes  # the record says it itself
    assert "another runtime" in notes
    assert "2.41 s were measured, so stalls rarer than one in 805 ms may have gone unseen." in notes


def test_drift_is_noted(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record([[4 * MS] * 200, [5 * MS] * 200, [6 * MS] * 200])
    verdict = judge([record], sla(latency={"p95": "10 ms"}))
    assert verdict.outcome is Outcome.PASS
    assert "Latency drifted by +50.0 % while measuring." in verdict.notes
