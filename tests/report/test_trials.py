"""The trials in the report: drawn, listed, and left out where there were none."""

from __future__ import annotations

import pytest
from drawn import check
from run_folder import make_run

from edgekd.report.page import report_text
from edgekd.report.run import RunFolder, read_run
from edgekd.report.sections import choice
from edgekd.report.trials import trials_figure, trials_part
from edgekd.sizing.files import ENDED, TrialsRow

LIMITS = ("sla.latency.p50='1 ms'", "sla.latency.p95='2 ms'", "search.trials=5")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return read_run(make_run(tmp_path_factory.mktemp("tried") / "run", until="size", overrides=LIMITS))


@pytest.fixture
def trials(tried: RunFolder) -> TrialsRow:
    assert tried.sizing is not None
    assert tried.sizing.trials is not None
    return tried.sizing.trials


def test_every_curve_is_drawn_and_the_chosen_one_on_top(tried: RunFolder, trials: TrialsRow) -> None:
    assert tried.students is not None
    assert tried.students.chosen is not None
    figure = trials_figure(trials, tried.students.chosen, tried.words)
    check(figure)
    assert len(figure["data"]) == len(trials.students)
    last = figure["data"][-1]
    assert tried.students.chosen in last["name"]
    assert last["line"]["color"] == "@accent"
    assert last["y"] == [point.loss for point in trials.students[tried.students.chosen].curve]


def test_each_way_to_end_is_named_once_in_the_legend(tried: RunFolder, trials: TrialsRow) -> None:
    assert tried.students is not None
    shown = [
        trace["name"]
        for trace in trials_figure(trials, tried.students.chosen, tried.words)["data"]
        if trace["showlegend"]
    ]
    assert len(shown) == len(set(shown))
    assert {"others were better", "could not reach the others"} <= set(shown)


def test_rungs_are_marked(trials: TrialsRow, tried: RunFolder) -> None:
    layout = trials_figure(trials, None, tried.words)["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == trials.rungs
    assert [note["text"] for note in layout["annotations"]] == ["rung 1", "rung 2"]


def test_the_table_names_each_student_with_its_numbers(tried: RunFolder, trials: TrialsRow) -> None:
    assert tried.students is not None
    text = trials_part(tried.students, trials, tried.words).text
    for name, row in trials.students.items():
        assert name in text
        assert ENDED[row.ended] in text
        assert row.loss is None or f"{row.loss:.4f}" in text
    assert f"{ENDED['finished']}, chosen" in text


def test_the_section_says_who_decided(tried: RunFolder) -> None:
    text = choice(tried).text
    assert "had the lowest validation loss" in text
    assert "The lowest loss at the last rung decided. They took 41.0 s of 5 min 0 s." in text


def test_trials_that_told_nothing_are_one_sentence(tried: RunFolder, trials: TrialsRow) -> None:
    assert tried.students is not None
    nothing = trials.model_copy(update={"students": {}, "decided": "nothing", "cut": True, "rungs": []})
    text = trials_part(tried.students, nothing, tried.words).text
    assert "No two students could be compared" in text
    assert "cut when time was up" in text
    assert "<figure" not in text


def test_a_run_without_trials_does_not_speak_of_them(page: str) -> None:
    assert "Short distillations" not in page


def test_a_name_from_a_file_stays_text(tried: RunFolder, trials: TrialsRow) -> None:
    assert tried.students is not None
    row = next(iter(trials.students.values()))
    hostile = trials.model_copy(update={"students": {"<script>alert(1)</script>": row}})
    assert "<script>alert" not in trials_part(tried.students, hostile, tried.words).text


def test_the_page_holds_the_plot(tried: RunFolder) -> None:
    assert 'id="trials"' in report_text(tried)
