"""What is shown of how good artifacts are, task by task."""

from dataclasses import replace
from typing import Any

from page_reader import Page

from edgekd.record import AccuracyRecord, Losses
from edgekd.report.measured import measured
from edgekd.report.quality import measures_of
from edgekd.report.run import RunFolder
from edgekd.report.versus import versus


def told(whole: RunFolder, **facts: Any) -> RunFolder:
    """The run, as if its records were of another task."""
    tables = [record.model_dump(mode="json") | facts for record in whole.accuracy]
    return replace(whole, accuracy=tuple(AccuracyRecord.model_validate(table) for table in tables))


def titles(run: RunFolder) -> list[str]:
    return [measure.title for measure in measures_of(measured(run.accuracy))]


def test_the_measure_is_named_by_the_task_of_the_records(whole: RunFolder) -> None:
    assert titles(whole) == ["accuracy"]
    assert titles(told(whole, task="token-classification")) == ["tag accuracy"]
    pairs: dict[str, Any] = {"metric": "f1_micro", "predictions": [1, 0, 1], "labels": [1, 1, 1]}
    assert titles(told(whole, **pairs)) == ["micro F1"]
    assert titles(replace(whole, accuracy=())) == ["accuracy"]


def test_further_measures_stand_beside_it(whole: RunFolder) -> None:
    entities = told(whole, task="token-classification", score=0.8125, score_name="entity F1")
    assert titles(entities) == ["tag accuracy", "entity F1"]
    said = Page(versus(entities).text).said
    assert "entity F1 81.25 % 81.25 % equal 81.25 % equal" in said
    near = told(whole, task="sentence-embedding", recall_at_10=0.5, spearman=0.9)
    assert titles(near) == ["nearest-text agreement", "recall at 10"]


def test_a_language_model_is_told_by_its_perplexity_first(whole: RunFolder) -> None:
    language = told(whole, task="causal-lm", losses=Losses(sum_nats=1500.0, tokens=500).model_dump())
    assert titles(language) == ["perplexity", "next-token accuracy"]
    (first, *_) = measures_of(measured(language.accuracy))
    found = measured(language.accuracy)[0]
    assert (first.value(found), first.detail(found)) == (found.losses and found.losses.perplexity, "500 tokens")
    assert first.text(20.0855) == "20.09"
    assert first.ratio(21.0, 20.0) == "+5.0 %"


def test_what_one_artifact_lacks_is_left_open(whole: RunFolder) -> None:
    scored = [record.model_copy(update={"score": 0.5, "score_name": "entity F1"}) for record in whole.accuracy[:1]]
    run = replace(whole, accuracy=(*scored, *whole.accuracy[1:]))
    measure = measures_of(measured(run.accuracy))[1]
    assert sorted(measure.value(found) is None for found in measured(run.accuracy)) == [False, True, True]


def test_a_name_from_a_file_is_one_plain_line(whole: RunFolder) -> None:
    strange = told(whole, score=0.5, score_name="F1\n\x1b[31mPASS\u202e" + "x" * 99)
    (_, title) = titles(strange)
    assert title.isprintable()
    assert "\n" not in title
    assert len(title) < 60
