"""The training curves."""

from typing import get_args

import pytest
from drawn import check

from edgekd.distill.settings import Stopped
from edgekd.report.run import RunFolder
from edgekd.report.training import (
    ending_text,
    fidelity_text,
    fork_text,
    labels_alone_from,
    loss_figure,
    score_figure,
)
from edgekd.task import TASKS, TaskName


def test_every_reason_to_end_has_its_words() -> None:
    reasons = get_args(Stopped)
    words = [ending_text(reason) for reason in reasons]
    assert len(set(words)) == len(reasons)
    assert not set(words) & set(reasons)
    assert "within 2 % of its own" in ending_text("reached_teacher")
    assert ending_text("told by another version") == "told by another version"
    assert ending_text(None) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("better", "was kept: it is better, and its calibration error of 5.7 % is within the 4.2 % allowed"),
        ("no_better", "was not kept: it is no better than the best epoch before it."),
        (
            "worse_calibrated",
            "was not kept: it is better, but its calibration error of 5.7 % exceeds the 4.2 % allowed",
        ),
        ("told by another version", "was not kept: told by another version."),
    ],
)
def test_the_fork_is_told_with_its_reason(reason: str, words: str, whole: RunFolder) -> None:
    assert whole.student is not None
    assert whole.student.fork is not None
    fork = whole.student.fork.model_copy(update={"reason": reason, "kept": reason == "better"})
    assert f"The last epoch, on labels alone, {words}" in fork_text(fork)


def test_fidelity_is_told_as_far_as_it_is_known(whole: RunFolder) -> None:
    assert whole.student is not None
    assert fidelity_text(whole.student, whole.words) == (
        "It gives its teacher's answer on 97.2 % of the examples of the validation part; its probabilities diverge from the teacher's "
        "by 0.0412 nats on average; its calibration error is 2.1 %, the teacher's 1.6 %."
    )
    old = whole.student.model_copy(update={"divergence": None, "calibration_error": None})
    assert (
        fidelity_text(old, whole.words)
        == "It gives its teacher's answer on 97.2 % of the examples of the validation part."
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_plot_and_the_fidelity_speak_of_what_the_task_judges(task: TaskName, whole: RunFolder) -> None:
    assert whole.student is not None
    words = TASKS[task]
    figure = score_figure(whole.teacher, whole.student, words)
    assert figure["layout"]["yaxis"]["title"]["text"] == f"{words.score}, validation part"
    (kept,) = [trace for trace in figure["data"] if trace["name"] == "student, kept"]
    assert words.said.format("%{y:.2%}") in kept["hovertemplate"]
    assert f"97.2 % of the {words.units} of the validation part" in fidelity_text(whole.student, words)


def test_both_trainings_are_drawn_with_the_kept_epoch(whole: RunFolder) -> None:
    assert whole.student is not None
    figure = score_figure(whole.teacher, whole.student, whole.words)
    check(figure)
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert len(by_name["student"]["x"]) == 41
    assert by_name["student, kept"]["x"] == [whole.student.best_epoch]
    assert "teacher" in by_name


def test_the_teachers_accuracy_is_a_horizontal_line(whole: RunFolder) -> None:
    assert whole.teacher is not None
    shapes = score_figure(whole.teacher, whole.student, whole.words)["layout"]["shapes"]
    assert [s["y0"] for s in shapes if s.get("xref") == "paper"] == [whole.teacher.validation_accuracy]


def test_the_epoch_from_which_labels_alone_count_is_marked(whole: RunFolder) -> None:
    assert labels_alone_from(whole.student) == 41
    assert labels_alone_from(None) is None
    layout = loss_figure(whole.teacher, whole.student)["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [40.5]
    assert [note["text"] for note in layout["annotations"]] == ["alpha 0"]


def test_plain_training_has_no_such_epoch(whole: RunFolder) -> None:
    assert whole.student is not None
    plain = [epoch.model_copy(update={"alpha": 0.0}) for epoch in whole.student.history]
    assert labels_alone_from(whole.student.model_copy(update={"history": plain})) is None


@pytest.mark.parametrize("loss", [0.0, None])
def test_a_loss_of_zero_or_unknown_is_drawn(loss: float | None, whole: RunFolder) -> None:
    assert whole.student is not None
    first = whole.student.history[0].model_copy(update={"train_loss": loss})
    figure = loss_figure(None, whole.student.model_copy(update={"history": [first]}))
    check(figure)
    assert figure["layout"]["yaxis"]["type"] == ("linear" if loss == 0 else "log")
