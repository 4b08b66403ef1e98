"""The verdict at the top."""

from dataclasses import replace

import pytest
from page_reader import Page

from edgekd.gate.verdict import Outcome, Reason, Verdict, overall
from edgekd.report.headline import asked_of, headline, limit_name, sentence_of
from edgekd.report.run import RunFolder
from edgekd.task import TASKS, TaskName


def with_outcome(whole: RunFolder, outcome: Outcome) -> Verdict:
    assert whole.verdict is not None
    criteria = tuple(replace(criterion, outcome=outcome) for criterion in whole.verdict.criteria)
    return replace(whole.verdict, criteria=criteria, outcome=overall(criteria))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_outcome_is_said_and_coloured(outcome: Outcome, whole: RunFolder) -> None:
    read = Page(headline(replace(whole, verdict=with_outcome(whole, outcome))).text)
    assert read.said.startswith(outcome.upper())
    assert ("div", {"class": f"band {outcome.value}"}) in read.elements


def test_the_sentence_says_model_device_host_and_runtime(whole: RunFolder) -> None:
    assert whole.verdict is not None
    said = sentence_of(whole.verdict)
    assert said == (
        "student-int8 keeps all 6 limits on raspberry-pi-5, measured on ssh://pi@kitchen:22 with onnxruntime 1.24.1."
    )
    assert sentence_of(replace(whole.verdict, device=None, host=None, runtime=None, artifact="m")) == (
        "m (int8) keeps all 6 limits."
    )
    assert "p95 latency at most 2.00 ms" in asked_of(whole.verdict, whole.words)
    assert "accuracy at least 90.00 %" in asked_of(whole.verdict, whole.words)


def test_every_criterion_is_a_row_with_its_evidence(whole: RunFolder) -> None:
    assert whole.verdict is not None
    read = Page(headline(whole).text)
    assert sum(tag == "tr" for tag, _ in read.elements) == 1 + len(whole.verdict.criteria)
    for criterion in whole.verdict.criteria:
        assert limit_name(criterion.metric, whole.words) in read.said
        assert criterion.text in read.said
    assert "1000" in read.said
    for note in whole.verdict.notes:
        assert note in read.said


@pytest.mark.parametrize("task", TASKS)
def test_a_limit_on_the_score_has_the_name_that_the_task_gives_it(task: TaskName, whole: RunFolder) -> None:
    words = TASKS[task]
    said = Page(headline(replace(whole, recipe={"task": task})).text).said
    assert f"{words.score} at least 90.00 %" in said
    assert limit_name("accuracy_drop", words) == f"{words.score} lost"
    assert limit_name("perplexity_rise", words) == "perplexity above the teacher's"
    assert limit_name("told by another version", words) == "told by another version"


def test_the_reason_is_given_only_for_what_is_not_kept(whole: RunFolder) -> None:
    assert "KEPT" not in Page(headline(whole).text).said
    missed = with_outcome(whole, Outcome.FAIL)
    criteria = tuple(replace(criterion, reason=Reason.MISSED) for criterion in missed.criteria)
    assert "MISSED" in Page(headline(replace(whole, verdict=replace(missed, criteria=criteria))).text).said


def test_what_was_not_selected_is_listed(whole: RunFolder) -> None:
    assert "student-fp32 (fp32) on raspberry-pi-5 keeps 4 of 6 limits" in Page(headline(whole).text).said


def test_without_a_verdict_the_next_command_is_named(sized_only: RunFolder) -> None:
    said = Page(headline(sized_only).text).said
    assert said.startswith("NO VERDICT YET")
    assert "edgekd run quickstart --out run" in said


def test_the_obstacle_stands_in_place_of_the_verdict(unfit: RunFolder) -> None:
    read = Page(headline(unfit).text)
    assert read.said.startswith("FAIL No student of this space is known to keep the SLA on raspberry-pi-5")
    assert "nearest: L1-H32" in read.said
    assert "to mend it: raise latency.p50" in read.said
    lost = Page(headline(replace(unfit, sizing=None)).text)
    assert lost.said.startswith("FAIL")
    assert "edgekd size quickstart" in lost.said
