"""What is said of a step that has not run."""

from dataclasses import replace
from pathlib import Path

from page_reader import Page

from edgekd.report.run import RunFolder
from edgekd.report.steps import command_text, missing


def test_the_usual_run_folder_is_left_out_and_another_named(whole: RunFolder) -> None:
    assert command_text(whole) == "edgekd run quickstart"
    assert command_text(whole, "size") == "edgekd size quickstart"
    assert command_text(whole, "gate") == "edgekd run quickstart"
    assert command_text(replace(whole, root=Path("my runs"))) == "edgekd run quickstart --out 'my runs'"


def test_a_name_from_a_file_cannot_add_a_command(whole: RunFolder) -> None:
    named = replace(whole, recipe={"name": "x; rm -rf ~"}, root=Path("r"))
    assert command_text(named) == "edgekd run 'x; rm -rf ~' --out r"


def test_nothing_is_asked_for_when_no_student_fits(unfit: RunFolder) -> None:
    assert "No student fits" in Page(missing(unfit, "Nothing measured.", "bench").text).said
    assert "edgekd" not in Page(missing(unfit, "Nothing measured.", "bench").text).said
    assert "edgekd teacher quickstart" in Page(missing(unfit, "No teacher.", "teacher").text).said
