"""The verdict as data: what it says, and what of it a file may not say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.errors import EdgekdError, InputError, RecordError
from edgekd.files import json_from_bytes
from edgekd.gate.files import read_verdict, write_junit, write_verdict
from edgekd.gate.judge import exit_code, judge
from edgekd.gate.verdict import (
    SCHEMA_VERSION,
    Criterion,
    Outcome,
    Reason,
    Verdict,
    excess_text,
    overall,
    value_text,
)

Make = Callable[..., Any]


def _criterion(outcome: Outcome, metric: str = "size", unit: Any = "B", **facts: Any) -> Criterion:
    return Criterion(metric, facts.pop("limit", 1000), unit, outcome, Reason.KEPT, "said", **facts)


@pytest.fixture(scope="module")
def verdict(latency_record: Make, accuracy_record: Make, steady: Make, sla: Make) -> Verdict:
    records = [latency_record(steady(2, 40), "a"), latency_record(steady(2, 45), "b"), accuracy_record(3, 4, "a")]
    return judge(records, sla(latency={"p95": "4 ms", "p50": "4 ms"}, memory="1 GB", accuracy="70 %", size="2 kB"))


@pytest.mark.parametrize(
    ("outcomes", "whole", "code"),
    [
        ("pp", Outcome.PASS, 0),
        ("pf", Outcome.FAIL, 1),
        ("pi", Outcome.INCONCLUSIVE, 3),
        ("if", Outcome.FAIL, 1),
        ("ii", Outcome.INCONCLUSIVE, 3),
        ("", Outcome.INCONCLUSIVE, None),
    ],
)
def test_whole_follows_from_the_criteria(outcomes: str, whole: Outcome, code: int | None) -> None:
    names = {"p": Outcome.PASS, "f": Outcome.FAIL, "i": Outcome.INCONCLUSIVE}
    criteria = tuple(_criterion(names[letter]) for letter in outcomes)
    assert overall(criteria) is whole
    if code is not None:
        made = Verdict("a", "a" * 64, "fp32", "student", 1, overall(criteria), criteria, 0.95)
        assert exit_code(made) == code


def test_file_gives_back_the_verdict_and_equal_verdicts_are_equal_files(verdict: Verdict, tmp_path: Path) -> None:
    assert verdict.alternatives
    write_verdict(verdict, tmp_path / "a.json")
    again = read_verdict(tmp_path / "a.json")
    assert again == verdict
    write_verdict(again, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["schema_version"] == SCHEMA_VERSION


def test_missing_file_and_file_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_verdict(tmp_path / "none.json")
    (tmp_path / "record.json").write_text('{"kind": "latency", "schema_version": "1.0"}')
    with pytest.raises(RecordError, match="is not an edgekd verdict"):
        read_verdict(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": "2.0"}, "has schema_version '2.0', this edgekd reads 1.0"),
        ({"schema_version": ["1.0"]}, "has schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"outcome": "pass"}, "says pass where its criteria say fail"),
        ({"outcome": "maybe"}, "outcome"),
        ({"criteria": []}, "criteria"),
        ({"criteria": None}, "criteria"),
        ({"size_bytes": True}, "size_bytes"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": "0.95"}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"median_latency_s": 0}, "median_latency_s"),
        ({"median_latency_s": float("inf")}, "median_latency_s"),
        ({"artifact": "\ud800"}, "verdict"),
    ],
)
def test_damaged_verdict_is_refused(change: dict[str, Any], message: str, verdict: Verdict) -> None:
    with pytest.raises(RecordError, match=message):
        Verdict.from_dict(verdict.to_dict() | change, "verdict.json")


def test_alternatives_are_checked_too(verdict: Verdict) -> None:
    table = copy.deepcopy(verdict.to_dict())
    table["alternatives"][0]["outcome"] = "pass"
    with pytest.raises(RecordError, match="says pass"):
        Verdict.from_dict(table)


def test_verdict_cut_at_any_byte_is_refused(verdict: Verdict) -> None:
    data = json.dumps(verdict.to_dict()).encode()
    for end in range(len(data)):
        with pytest.raises(RecordError):
            Verdict.from_dict(json_from_bytes(data[:end], where="cut"))


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_flipped_byte_gives_a_verdict_or_a_typed_error(verdict: Verdict, data: Any) -> None:
    raw = bytearray(json.dumps(verdict.to_dict()).encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        read = Verdict.from_dict(json_from_bytes(bytes(raw), where="flipped"))
    except EdgekdError:
        return
    assert read.outcome is overall(read.criteria)


def test_excess_is_above_zero_on_the_wrong_side() -> None:
    assert _criterion(Outcome.FAIL, estimate=1100).excess == pytest.approx(0.1)
    assert _criterion(Outcome.PASS, estimate=500).excess == -0.5
    assert _criterion(Outcome.PASS).excess is None
    assert _criterion(Outcome.FAIL, "accuracy", "share", limit=0.9, estimate=0.8).excess == pytest.approx(0.1)
    assert _criterion(Outcome.FAIL, "accuracy_drop", "share", limit=0.0, estimate=0.1).excess == pytest.approx(0.1)


def test_values_read_like_quantities() -> None:
    assert value_text(0.005, "s") == "5.00 ms"
    assert value_text(2_000_000, "B") == "2.00 MB"
    assert value_text(0.973, "share") == "97.30 %"
    assert value_text(None, "s") == "unknown"
    assert excess_text(0.1) == "1.10 times the limit"
    assert excess_text(0.0999) == "10 % above the limit"
    assert excess_text(0.0004) == "0.04 % above the limit"


def test_junit_file_is_written(verdict: Verdict, tmp_path: Path) -> None:
    write_junit(verdict, tmp_path / "out" / "junit.xml")
    assert (tmp_path / "out" / "junit.xml").read_text().startswith("<?xml")


def test_verdict_on_any_name_can_be_written_and_read(
    latency_record: Make, steady: Make, sla: Make, tmp_path: Path
) -> None:
    ugly = "\ud800\x1b[31m\n" + "x" * 1000
    runtime = {"name": ugly, "version": ugly}
    record = latency_record(steady(1, 10), ugly, device=ugly, warnings=[ugly], runtime=runtime, host={"cpu": ugly})
    other = latency_record(steady(1, 11), ugly)
    made = judge([record, other], sla(latency={"p95": "1 ms"}, memory="1 GB"))
    write_verdict(made, tmp_path / "v.json")
    assert read_verdict(tmp_path / "v.json") == made
    assert len(made.artifact) < 300


def test_verdict_survives_hostile_names_in_one_line(verdict: Verdict) -> None:
    hostile = Verdict.from_dict(verdict.to_dict() | {"artifact": "\x1b[31m\u202e", "device": "\x07"})
    assert "\x1b" not in hostile.text
    assert "\u202e" not in hostile.text
    assert "\x07" not in hostile.text
