"""GitHub: the table, the annotations, and names that try to be more than names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.gate.github import annotation_lines, summary_text
from edgekd.gate.judge import judge

Make = Callable[..., Any]


def test_summary_has_a_row_per_limit_and_per_alternative(latency_record: Make, steady: Make, sla: Make) -> None:
    records = [latency_record(steady(2, 100), "good"), latency_record(steady(2, 100, fast=20_000_000), "bad")]
    text = summary_text(judge(records, sla(latency={"p95": "10 ms", "p50": "10 ms"}, size="2 kB")))
    assert text.startswith("## ✅ pass: good (fp32)\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len([row for row in rows if "✅ pass" in row]) == 3
    assert sum("❌ fail" in row for row in rows) == 1
    assert "stalls rarer than" in text
    assert "device rpi5, host board, runtime onnxruntime 1.24" in text


def test_missed_is_an_error_open_a_warning_and_kept_nothing(latency_record: Make, steady: Make, sla: Make) -> None:
    record = latency_record(steady(2, 100))
    lines = annotation_lines(judge([record], sla(latency={"p95": "10 ms"}, size="1 B", memory="1 GB")))
    assert len(lines) == 2
    assert lines[0].startswith("::warning title=student-a%3A memory::")
    assert lines[0].endswith("[MEMORY_UNKNOWN]")
    assert lines[1].startswith("::error title=student-a%3A size::the file has 1.00 kB, ")
    assert annotation_lines(judge([record], sla(size="1 kB"))) == []


@given(st.text(alphabet=st.sampled_from("a|\n\r`<>*[](){}!:,%\\&@~_#-\x1b\u202e"), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_name_can_break_out_of_its_place(latency_record: Make, steady: Make, sla: Make, name: str) -> None:
    record = latency_record(steady(1, 10), name, device=name, warnings=[name])
    verdict = judge([record], sla(latency={"p95": "1 ms"}))
    plain = judge([latency_record(steady(1, 10), device="x", warnings=["x"])], sla(latency={"p95": "1 ms"}))
    text = summary_text(verdict)
    assert text.count("\n") == summary_text(plain).count("\n")
    assert re.findall(r"(?<!\\)\|", text) == re.findall(r"(?<!\\)\|", summary_text(plain))
    assert "<" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    for line in annotation_lines(verdict):
        assert "\n" not in line
        assert "\r" not in line
        title = line.split("title=", 1)[1].split("::", 1)[0]
        assert ":" not in title
        assert "," not in title
