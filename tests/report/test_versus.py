"""The student beside its teacher."""

from dataclasses import replace

from page_reader import Page

from edgekd.record import Losses
from edgekd.report.run import RunFolder
from edgekd.report.versus import versus


def test_values_and_ratios_stand_side_by_side(whole: RunFolder) -> None:
    said = Page(versus(whole).text).said
    for word in ("teacher fp32", "student int8", "668 k", "234 k", "35 %", "13 %", "98.33 %", "n = 360", "x faster"):
        assert word in said
    assert "-1.67 points" in said
    assert "agree on 97.2 % of the examples" in said


def test_the_selected_artifact_is_marked(whole: RunFolder) -> None:
    marked = [a for tag, a in Page(versus(whole).text).elements if tag == "th" and "selected" in (a.get("class") or "")]
    assert [attributes["title"] for attributes in marked] == ["student-int8"]


def test_without_a_teacher_nothing_is_compared(whole: RunFolder) -> None:
    alone = replace(
        whole, latency=tuple(r for r in whole.latency if r.artifact.role == "student"),
        accuracy=tuple(r for r in whole.accuracy if r.artifact.role == "student"), teacher=None, student=None,
    )  # fmt: skip
    said = Page(versus(alone).text).said
    assert "faster" not in said
    assert "points" not in said
    assert "student int8" in said


def test_accuracy_alone_leaves_latency_open(whole: RunFolder) -> None:
    said = Page(versus(replace(whole, latency=(), verdict=None)).text).said
    assert "98.33 %" in said
    assert "p50 latency - - -" in said


def test_nothing_measured_names_the_command(sized_only: RunFolder) -> None:
    assert "edgekd run quickstart" in Page(versus(sized_only).text).said


def test_language_models_show_their_perplexity_beside_the_teachers(whole: RunFolder) -> None:
    assert "perplexity" not in versus(whole).text
    told = [
        record.model_copy(update={"losses": Losses(sum_nats=nats * 500, tokens=500)})
        for record, nats in zip(whole.accuracy, (3.0, 3.1, 3.2), strict=True)
    ]
    page = versus(replace(whole, accuracy=tuple(told))).text
    teacher = next(record for record in told if record.artifact.role == "teacher")
    assert teacher.losses is not None
    assert f"{teacher.losses.perplexity:.2f}" in page
    assert "500 tokens" in page
    for record in told:
        assert record.losses is not None
        rise = 100 * (record.losses.perplexity / teacher.losses.perplexity - 1)
        assert record is teacher or f"{rise:+.1f} %" in page
