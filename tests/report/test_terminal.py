"""What is printed: aligned, one line each, safe."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from run_folder import make_run

from edgekd.device import profile_names
from edgekd.errors import InputError, RecordError
from edgekd.gate.compare import compare
from edgekd.report.run import RunFolder
from edgekd.report.terminal import (
    comparison_lines,
    comparison_rows,
    data_lines,
    device_lines,
    device_table,
    files_lines,
    record_lines,
    summary_lines,
    table,
    verdict_lines,
)

HOSTILE = "a\x1b[31m\nPASS: forged\u202e"


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    rows = [("name", "size"), ("a", "1.00 MB"), ("longer", "-"), ("c", "12 B")]
    assert table(rows) == ["  name       size", "  a       1.00 MB", "  longer        -", "  c          12 B"]


def test_a_column_of_words_is_aligned_to_the_left() -> None:
    assert table([("x", "y"), ("1", "8 cores"), ("2", "many")], indent="") == ["x  y", "1  8 cores", "2  many"]


def test_a_heading_alone_is_a_line() -> None:
    assert table([("a", "b")]) == ["  a  b"]


def test_the_verdict_has_a_line_per_limit(whole: RunFolder) -> None:
    assert whole.verdict is not None
    lines = verdict_lines(whole.verdict)
    assert lines[0] == whole.verdict.text
    assert sum(line.startswith("  PASS ") for line in lines) == len(whole.verdict.criteria)
    assert any(line.startswith("  not selected: FAIL") for line in lines)


def test_no_text_of_a_file_makes_a_line_or_a_colour_of_its_own(whole: RunFolder) -> None:
    assert whole.verdict is not None
    criteria = tuple(replace(criterion, text=HOSTILE) for criterion in whole.verdict.criteria)
    record = whole.latency[0].model_copy(
        update={
            "warnings": [HOSTILE],
            "artifact": whole.latency[0].artifact.model_copy(update={"name": HOSTILE}),
            "host": whole.latency[0].host.model_copy(update={"name": HOSTILE, "cpu": HOSTILE}),
        }
    )
    for line in [*verdict_lines(replace(whole.verdict, criteria=criteria, notes=(HOSTILE,))), *record_lines(record)]:
        assert "\n" not in line
        assert "\x1b" not in line
        assert "\u202e" not in line


def test_a_record_says_where_and_how_fast(whole: RunFolder) -> None:
    lines = record_lines(whole.latency[0])
    assert "student-fp32 on ssh://pi@kitchen:22 (Cortex-A76), onnxruntime 1.24.1, 1 thread" in lines[0]
    assert "1000 samples in 5 processes: p50 " in lines[1]
    assert lines[2].startswith("  peak memory ")
    assert lines[3].startswith("  warning: governor")


def test_a_comparison_is_one_line_and_its_notes(whole: RunFolder) -> None:
    comparison = compare(whole.latency[0], whole.latency[0])
    lines = comparison_lines(comparison)
    assert lines[0] == comparison.text
    assert len(lines) == 1 + len(comparison.notes)


def test_every_device_is_a_row() -> None:
    lines = device_table()
    assert len(lines) == 1 + len(profile_names())
    assert any(line.startswith("raspberry-pi-5 ") for line in lines)


def test_every_fact_of_a_device_has_its_source() -> None:
    lines = device_lines("raspberry-pi-5")
    assert sum(line.startswith("      source: ") for line in lines) >= 3


def test_the_summary_ends_with_the_report(run_root: Path) -> None:
    lines = summary_lines(run_root)
    assert lines[0].startswith("PASS: student-int8")
    assert lines[-1] == f"report {run_root / 'report.html'}"
    assert lines[-4:-2] == [
        "  warning: 9 of 360 test examples (2.5 %) also stand in train.",
        "  warning: train: 3 of 1293 texts are blank.",
    ]
    assert any("teacher-fp32" in line for line in lines)


def test_a_single_step_ends_with_its_files_and_what_to_know_of_the_data(run_root: Path, tmp_path: Path) -> None:
    lines = files_lines(run_root)
    assert lines[-1] == f"files in {run_root}"
    assert len(lines) == 3
    assert files_lines(tmp_path) == [f"files in {tmp_path}"]
    path = tmp_path / "data.json"
    path.write_text('{"warnings": []}')
    assert data_lines(tmp_path) == []
    path.write_text(json.dumps({"warnings": [HOSTILE]}))
    (line,) = data_lines(tmp_path)
    assert not {"\n", "\x1b", "\u202e"} & set(line)
    for damaged in ('{"warnings": 3}', '{"warnings": [3]}', "[]"):
        path.write_text(damaged)
        with pytest.raises(RecordError, match=r"data\.json"):
            data_lines(tmp_path)


def test_each_artifact_is_compared_with_the_teacher(run_root: Path) -> None:
    rows = comparison_rows(run_root)
    assert [row[0] for row in rows] == ["artifact", "teacher-fp32", "student-fp32", "student-int8"]
    assert rows[1][-1] == ""
    assert rows[3][-1] == "3.9x faster, 13 % of the size, accuracy -1.67 points"


def test_a_run_in_which_nothing_fits_says_what_stands_in_the_way(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run", overrides=["sla.latency.p50='1 us'"])
    lines = summary_lines(root)
    assert lines[0].startswith("FAIL: no student")
    assert any("nearest: " in line for line in lines)
    (root / "sizing.json").write_text("{}")
    with pytest.raises(InputError, match="neither"):
        summary_lines(root)
    (root / "students.json").write_text("[]")
    with pytest.raises(RecordError, match="no JSON object"):
        summary_lines(root)


def test_a_summary_without_a_verdict_is_an_error_that_names_the_file(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    (tmp_path / "run" / "verdict.json").unlink()
    with pytest.raises(InputError, match=r"verdict\.json"):
        summary_lines(tmp_path / "run")
