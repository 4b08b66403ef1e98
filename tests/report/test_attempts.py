"""The attempts as a table: in the terminal and on the page, and nothing where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from loop_file import loop_file, truth, write_loop
from page_reader import Page

from edgekd.report.attempts import ending_text, lines_of
from edgekd.report.page import report_text
from edgekd.report.run import read_run
from edgekd.report.terminal import summary_lines
from edgekd.task import words_of

HOSTILE = "</td><script>alert(1)</script>\x1b[31m\nPASS: forged"


@pytest.fixture
def looped(run_root: Path, tmp_path: Path) -> Path:
    return write_loop(Path(shutil.copytree(run_root, tmp_path / "run")))


def test_each_attempt_says_what_was_expected_found_asked_for_and_what_followed() -> None:
    lines = [line.cells for line in lines_of(loop_file(), words_of(None))]
    assert lines[0] == (
        "1", "L4-H80-A10-F320 int8", "p50 latency", "1.05 ms", "1.28 ms (at most 1.31 ms)", "at most 1.00 ms", "FAIL",
        "97.92 %", "a smaller one",
    )  # fmt: skip
    assert lines[1][-1] == "a larger one, taken"
    assert lines[2][-1] == ""
    assert [line.taken for line in lines_of(loop_file(), words_of(None))] == [False, True, False]


def test_what_was_expected_later_holds_what_was_learned() -> None:
    first, second = (line.cells[3] for line in lines_of(loop_file(), words_of(None))[:2])
    assert (first, second) == ("1.05 ms", "860 µs")


def test_a_missed_accuracy_is_shown_where_every_cost_was_kept() -> None:
    file = loop_file()
    miss = truth(
        "accuracy", "share", 0.9, 1.0, expected=None, estimate=0.85, high=None, outcome="fail", reason="MISSED"
    )
    kept = file.attempts[1]
    attempt = kept.model_copy(update={"truths": {"int8": [*kept.costs("int8"), miss]}, "outcome": "fail"})
    (line,) = lines_of(file.model_copy(update={"attempts": [attempt], "best": None}), words_of(None))
    assert line.cells[2:7] == ("accuracy", "-", "85.00 %", "at least 90.00 %", "FAIL")


def test_the_terminal_and_the_page_show_them(looped: Path) -> None:
    said = "\n".join(summary_lines(looped))
    assert "3 students were trained and judged; no other one, for no student lies between the two" in said
    assert "a larger one, taken" in said
    page = Page(report_text(read_run(looped)))
    assert "The attempts" in page.said
    assert "L3-H80-A10-F320 int8" in page.said


def test_one_attempt_is_a_sentence_and_none_is_nothing(looped: Path, run_root: Path) -> None:
    file = loop_file("budget.attempts allows 1")
    one = file.model_copy(update={"attempts": file.attempts[:1], "best": None})
    assert ending_text(one) == "One student was trained and judged; no other one, for budget.attempts allows 1"
    assert not [line for line in summary_lines(run_root) if "trained and judged" in line]
    assert "The attempts" not in report_text(read_run(run_root))


def test_no_text_of_the_file_becomes_markup_or_a_line(looped: Path) -> None:
    write_loop(looped, ended=HOSTILE)
    assert all("\n" not in line and "\x1b" not in line for line in summary_lines(looped))
    text = report_text(read_run(looped))
    assert "<script>alert(1)" not in text
