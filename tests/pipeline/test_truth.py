"""The truth about a trained student, from the files that its attempt left."""

from pathlib import Path

import pytest

from edgekd.device import load_profile
from edgekd.errors import RecordError
from edgekd.files import read_json, write_json
from edgekd.pipeline.truth import attempt_in
from edgekd.sizing.attempts import NOTHING, Attempt, Truth
from edgekd.sizing.files import read_sizing
from edgekd.sizing.limits import tail_factor
from edgekd.sla import Sla

PROFILE = load_profile("generic-x86-64")


def found(root: Path, **sla: object) -> Attempt:
    return attempt_in(root, 1, Sla.model_validate(sla), PROFILE, NOTHING)


def truth_in(attempt: Attempt, precision: str, metric: str) -> Truth:
    return next(truth for truth in attempt.truths[precision] if truth.metric == metric)


def test_it_has_the_numbers_of_the_gate_and_of_sizing(whole: Path) -> None:
    attempt = found(whole, latency={"p50": "50 ms"}, memory="2 GB", size="4 MB", accuracy="20 %")
    sizing, verdict = read_sizing(whole / "sizing.json"), read_json(whole / "verdict.json")
    judged = {each["precision"]: each for each in (verdict, *verdict["alternatives"])}
    assert set(attempt.truths) == set(judged) == {"fp32", "int8"}
    for precision, each in judged.items():
        measured = sizing.measurements[f"{attempt.name}-{precision}"]
        for criterion in each["criteria"]:
            truth = truth_in(attempt, precision, criterion["metric"])
            assert (truth.estimate, truth.high) == (criterion["estimate"], criterion["high"])
            assert truth.outcome == criterion["outcome"]
        assert truth_in(attempt, precision, "latency.p50").expected == measured.high_s
        assert truth_in(attempt, precision, "memory").expected == measured.peak_memory_bytes
        assert truth_in(attempt, precision, "size").expected == measured.size_bytes
        assert truth_in(attempt, precision, "accuracy").expected is None
    table = read_json(whole / "student.json")
    assert attempt.validation_accuracy == table["validation_accuracy"]
    assert attempt.seconds == table["seconds"] > 0
    assert attempt.selected == verdict["precision"]


def test_another_limit_is_judged_from_the_same_records(whole: Path) -> None:
    attempt = found(whole, latency={"p50": "1 us", "p90": "60 ms"})
    assert attempt.outcome == "fail"
    p50, p90 = attempt.truths["fp32"]
    assert (p50.outcome, p90.metric) == ("fail", "latency.p90")
    assert p50.expected is not None
    assert p90.expected is not None
    assert p90.expected >= p50.expected * tail_factor(0.9, 0.05)


def test_a_student_whose_training_took_nobody_knows_how_long_is_named(root: Path) -> None:
    table = read_json(root / "student.json")
    write_json(root / "student.json", {key: value for key, value in table.items() if key != "seconds"})
    with pytest.raises(RecordError, match=r"student\.json: lacks validation_accuracy or seconds"):
        found(root, size="4 MB")
