"""Verdict files: what is written is what is read, and nothing else is believed."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgekd.errors import InputError, RecordError
from edgekd.gate.files import read_verdict, write_junit, write_verdict
from edgekd.gate.verdict import Criterion, Outcome, Reason, Verdict


@pytest.fixture
def verdict() -> Verdict:
    kept = Criterion("size", 1000.0, "B", Outcome.PASS, Reason.KEPT, "the file has 900 B", estimate=900.0)
    return Verdict(
        artifact="student-int8", sha256="a" * 64, precision="int8", role="student", size_bytes=900,
        outcome=Outcome.PASS, criteria=(kept,), confidence=0.95,
    )  # fmt: skip


def test_a_verdict_reads_back_as_it_was_written(verdict: Verdict, tmp_path: Path) -> None:
    write_verdict(verdict, tmp_path / "verdict.json")
    assert read_verdict(tmp_path / "verdict.json") == verdict


def test_equal_verdicts_are_equal_files(verdict: Verdict, tmp_path: Path) -> None:
    write_verdict(verdict, tmp_path / "a.json")
    write_verdict(verdict, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_forged_outcome_is_refused(verdict: Verdict, tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    write_verdict(verdict, path)
    table = json.loads(path.read_text())
    table["criteria"][0]["outcome"] = "fail"
    path.write_text(json.dumps(table))
    with pytest.raises(RecordError):
        read_verdict(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_verdict(tmp_path / "none.json")


def test_junit_is_xml_with_a_case_per_limit(verdict: Verdict, tmp_path: Path) -> None:
    write_junit(verdict, tmp_path / "junit.xml")
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert [case.get("name") for case in root.iter("testcase")] == ["size"]
