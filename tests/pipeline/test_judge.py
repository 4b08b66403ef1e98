"""The step gate and the verbs gate and compare: from files to files."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edgekd.errors import InputError, RecordError, SlaError
from edgekd.files import read_json
from edgekd.gate.files import read_verdict
from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.judge import compare_files, gate_files, inputs


@pytest.fixture
def sla(tmp_path: Path) -> Path:
    path = tmp_path / "sla.yaml"
    path.write_text("latency: {p50: 50 ms}\nsize: 4 MB\n")
    return path


def test_the_verdict_of_a_run_stands_in_all_three_files(whole: Path) -> None:
    verdict = read_verdict(whole / "verdict.json")
    assert verdict.outcome == "pass"
    assert ET.parse(whole / "junit.xml").getroot().tag in ("testsuites", "testsuite")
    assert "✅ pass: student" in (whole / "summary.md").read_text()


def test_the_records_of_a_run_are_judged_again_from_their_folder(whole: Path, sla: Path, tmp_path: Path) -> None:
    judged = gate_files([whole / "records"], sla, out=tmp_path / "v.json", junit=tmp_path / "j.xml")
    assert judged.exit_code == 0
    assert judged.annotations == ()
    assert read_verdict(tmp_path / "v.json") == judged.verdict
    assert (tmp_path / "j.xml").is_file()


def test_a_limit_below_what_was_measured_fails_and_too_few_samples_stay_open(whole: Path, tmp_path: Path) -> None:
    tight = tmp_path / "tight.yaml"
    tight.write_text("latency: {p50: 1 us}\n")
    assert gate_files([whole / "records"], tight).exit_code == 1
    rare = tmp_path / "rare.yaml"
    rare.write_text("latency: {p99.999: 50 ms}\n")
    assert gate_files([whole / "records" / "latency-student-fp32.json"], rare).exit_code == 3


def test_the_summary_is_appended_to_what_github_names(
    whole: Path, sla: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    judged = gate_files([whole / "records"], sla, github=True)
    assert summary.read_text().startswith("before\n")
    assert "✅ pass: student" in summary.read_text()
    assert judged.annotations == ()
    sla.write_text("latency: {p50: 1 us}\n")
    assert gate_files([whole / "records"], sla, github=True).annotations[0].startswith("::error")


def test_github_without_its_variable_is_an_input_error(whole: Path, sla: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    with pytest.raises(InputError, match=r"\$GITHUB_STEP_SUMMARY is not set"):
        gate_files([whole / "records"], sla, github=True)


def test_student_and_teacher_are_compared(whole: Path) -> None:
    records = whole / "records"
    found = compare_files(records / "latency-teacher-fp32.json", records / "latency-student-fp32.json")
    assert (found.baseline_runs, found.candidate_runs) == (3, 3)
    assert "times as long as the baseline" in found.text


def test_only_latencies_are_compared(whole: Path) -> None:
    records = whole / "records"
    with pytest.raises(InputError, match="is a record of kind accuracy, expected latency"):
        compare_files(records / "latency-teacher-fp32.json", records / "accuracy-student-fp32.json")


def test_a_wrong_sla_or_record_is_named(whole: Path, sla: Path, tmp_path: Path) -> None:
    sla.write_text("latency: {p50: 5}\n")
    with pytest.raises(SlaError, match=r"sla.yaml:1: latency.p50: found the bare number 5"):
        gate_files([whole / "records"], sla)
    sla.write_text("size: 1 MB\n")
    with pytest.raises(RecordError, match="is not an edgekd record"):
        gate_files([whole / "teacher.json"], sla)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        gate_files([tmp_path / "empty"], sla)


def test_the_judgement_depends_on_the_limits_and_on_every_record(root: Path, context: Context) -> None:
    base = inputs_hash(inputs(context))
    path = root / "records" / "latency-student-fp32.json"
    table = read_json(path)
    assert inputs_hash(inputs(context)) == base
    path.write_text(path.read_text() + " ")
    assert inputs_hash(inputs(context)) != base
    assert read_json(path) == table
