"""attempts.json: what counts as a truth, and a file that is read without trust."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tried import attempt_of, tried_spec, truth_of

from edgekd.errors import InputError, RecordError
from edgekd.files import write_json
from edgekd.sizing.attempts import Aim, AttemptsFile, Blocked, read_attempts, write_attempts


def test_the_upper_end_counts_and_a_limit_that_was_not_kept_is_never_within() -> None:
    kept, open_ = truth_of(0.8), truth_of(0.95, outcome="inconclusive", reason="BURSTS", high=None)
    assert kept.value == kept.high == 0.8e-3
    assert open_.value == math.nextafter(1e-3, math.inf)
    assert truth_of(1.2).value == 1.2e-3
    blind = truth_of(1.0, outcome="inconclusive", reason="NO_LATENCY_RECORD", estimate=None, high=None, low=None)
    assert blind.value > 1e-3
    assert blind.factor is None


def test_a_miss_never_teaches_that_students_take_less() -> None:
    assert truth_of(0.8, expected=1e-3).factor == pytest.approx(0.8)
    open_ = truth_of(0.9, expected=1e-3, outcome="inconclusive", reason="TOO_CLOSE")
    assert open_.factor == 1.0
    assert truth_of(1.3, expected=1e-3).factor == pytest.approx(1.3)
    assert truth_of(0.8, expected=None).factor is None


def test_the_precision_that_does_best_stands_for_the_student() -> None:
    attempt = attempt_of(1, fp32=1.4, int8=0.7)
    assert (attempt.kept, attempt.nearest, attempt.missed) == (["int8"], "int8", False)
    assert attempt.ratio == pytest.approx(0.7)
    assert attempt_of(1, fp32=1.4, int8=1.2).missed


def test_what_lies_in_the_measurement_is_no_miss_of_the_student() -> None:
    held_back = {"outcome": "inconclusive", "reason": "THROTTLED"}
    attempt = attempt_of(1, truths={"fp32": [truth_of(1.3, **held_back)]}, selected="fp32")
    assert not attempt.kept
    assert not attempt.missed


def test_a_file_comes_back_as_it_was_and_is_left_alone_when_it_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "attempts.json"
    file = AttemptsFile(
        key="k", loop="l", attempts=[attempt_of(3, fp32=0.1 + 0.2)], blocked=Blocked(why="space"), best=3
    )
    write_attempts(file, path)
    assert read_attempts(path) == file
    before = path.stat().st_mtime_ns
    write_attempts(file, path)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": "9.0"}, "has schema_version '9.0', this edgekd reads 1.0. Remove it"),
        ({"kind": "sizing"}, "is no attempts.json"),
        ({"best": 7}, "best is 7, which is none of the attempts"),
        ({"further": 1}, "further: Extra inputs"),
        ({"earlier": [json.loads(attempt_of(3, fp32=1.0).model_dump_json())]}, "two attempts have the same number"),
        ({"attempts": [{"number": 1}]}, "attempts.0.spec"),
    ],
)
def test_a_damaged_file_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "attempts.json"
    file = AttemptsFile(key="k", loop="l", attempts=[attempt_of(3, fp32=1.0)])
    write_json(path, file.model_dump(mode="json") | change)
    with pytest.raises(RecordError, match=message) as caught:
        read_attempts(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_attempts(tmp_path / "none.json")


def test_an_attempt_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden 30 cannot be shared"):
        attempt_of(1, fp32=1.0, spec={**tried_spec(1).to_dict(), "hidden": 30, "heads": 4, "head_dim": 0})
    with pytest.raises(ValueError, match="selected precision 'int8' is not among the truths"):
        attempt_of(1, fp32=1.0, selected="int8")
    with pytest.raises(ValueError, match="not in order"):
        Aim(direction="smaller", least=0.9, most=0.8, low=0.0, high=1.0, above=None, after="x")
