"""The plots of the two trainings, epoch by epoch, and the words for how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekd.distill.stopping import CLOSE_TO_TEACHER
from edgekd.report.figures import Figure, axis, figure, note
from edgekd.report.run import Epoch, Fork, StudentFile, TeacherFile
from edgekd.task import TaskWords
from edgekd.units import text_from_share

_COLOURS = {"teacher": "@teacher", "student": "@accent"}
_ENDINGS = {
    "finished": "all epochs were run",
    "early": "ended early, when further epochs brought nothing",
    "reached_teacher": "ended early, as good as the teacher and with a loss within "
    f"{text_from_share(CLOSE_TO_TEACHER, 0)} of its own that fell no further",
    "capacity_limited": "ended early, when further epochs brought nothing; a larger student may learn more",
    "budget": "out of time, the best so far was kept (raise budget.training and use --again)",
}


def ending_text(stopped: str | None) -> str:
    """Why a training ended, in words; what is not one of our reasons is given back as it is."""
    return _ENDINGS.get(stopped or "", stopped or "")


def fork_text(fork: Fork) -> str:
    """Whether the last epoch, on labels alone, was kept, and why, in a sentence."""
    before, after, most = (
        text_from_share(share, 1)
        for share in (fork.calibration_error_before, fork.calibration_error, fork.most_calibration_error)
    )
    begun = f"The last epoch, on labels alone, was {'kept' if fork.kept else 'not kept'}"
    reasons = {
        "better": f"it is better, and its calibration error of {after} is within the {most} allowed "
        f"(before it: {before})",
        "no_better": "it is no better than the best epoch before it",
        "worse_calibrated": f"it is better, but its calibration error of {after} exceeds the {most} allowed "
        f"(before it: {before})",
    }
    return f"{begun}: {reasons.get(fork.reason, fork.reason)}."


def fidelity_text(student: StudentFile, words: TaskWords) -> str:
    """How faithful the student is to its teacher, apart from how good it is, in a sentence."""
    found = student.measures
    if found is not None:
        return (
            f"Of the teacher's ten nearest texts {text_from_share(found.recall_at_10)} are among its own ten, on the "
            f"validation part; the ranks of all cosines correlate by {found.spearman:.3f} (Spearman)."
        )
    told = (
        f"It gives its teacher's answer on {text_from_share(student.agreement)} of the {words.units} of the validation "
    )
    told += "part"
    if student.divergence is not None:
        told += f"; its probabilities diverge from the teacher's by {student.divergence:.3g} nats on average"
    if student.calibration_error is not None and student.teacher_calibration_error is not None:
        own, its = text_from_share(student.calibration_error), text_from_share(student.teacher_calibration_error)
        told += f"; its calibration error is {own}, the teacher's {its}"
    return f"{told}."


def score_figure(teacher: TeacherFile | None, student: StudentFile | None, words: TaskWords) -> Figure:
    """The score on the validation part by epoch; the teacher's final one as a horizontal line."""
    traces = []
    for name, told in _told(teacher, student):
        traces += [_line(name, told.history, "validation_accuracy", f"{name}"), _best(name, told, words)]
    shapes, notes = _polish(student, 0.12)
    if teacher is not None:
        final = teacher.validation_accuracy
        shapes.append({
            "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": final, "y1": final,
            "line": {"color": "@teacher", "width": 1.2, "dash": "dash"},
        })  # fmt: skip
        notes.append({
            "x": 0, "xref": "paper", "y": final, "text": f"teacher {text_from_share(final, 2)}", "showarrow": False,
            "xanchor": "left", "yanchor": "bottom", "font": {"size": 11, "color": "@muted"},
        })  # fmt: skip
    shown = [trace for trace in traces if trace["x"]]
    return figure(
        shown, height=340, xaxis=_epochs(), yaxis=axis(f"{words.score}, validation part", tickformat=".1%"),
        shapes=shapes, annotations=notes,
    )  # fmt: skip


def loss_figure(teacher: TeacherFile | None, student: StudentFile | None) -> Figure:
    """The losses by epoch: what was minimised, and the cross entropy on the validation part."""
    traces = []
    for name, told in _told(teacher, student):
        traces.append(_line(name, told.history, "train_loss", f"{name}, training", dash="dot"))
        traces.append(_line(name, told.history, "validation_loss", f"{name}, validation"))
    shapes, notes = _polish(student, 0.98)
    positive = all(value > 0 for trace in traces for value in trace["y"])
    return figure(
        [trace for trace in traces if trace["x"]], height=340, xaxis=_epochs(),
        yaxis=axis("loss", type="log" if positive else "linear", dtick="D2" if positive else None, tickformat="~r"),
        shapes=shapes, annotations=notes,
    )  # fmt: skip


def _told(teacher: TeacherFile | None, student: StudentFile | None) -> list[tuple[str, TeacherFile | StudentFile]]:
    pairs = (("teacher", teacher), ("student", student))
    return [(name, told) for name, told in pairs if told is not None and told.history]


def _epochs() -> dict[str, Any]:
    return axis("epoch", tickformat="d", rangemode="tozero")


def _line(name: str, history: Sequence[Epoch], key: str, label: str, dash: str = "solid") -> dict[str, Any]:
    known = [(epoch.epoch, getattr(epoch, key)) for epoch in history if getattr(epoch, key) is not None]
    shown = "%{y:.2%}" if key == "validation_accuracy" else "%{y:.4g}"
    return {
        "type": "scatter", "mode": "lines+markers" if len(known) < 4 else "lines", "name": label,
        "x": [epoch for epoch, _ in known], "y": [value for _, value in known],
        "line": {"color": _COLOURS[name], "width": 2, "dash": dash},
        "hovertemplate": f"{label}, epoch %{{x}}: {shown}<extra></extra>",
    }  # fmt: skip


def _best(name: str, told: TeacherFile | StudentFile, words: TaskWords) -> dict[str, Any]:
    kept = [epoch for epoch in told.history if epoch.epoch == told.best_epoch and epoch.validation_accuracy is not None]
    score = words.said.format("%{y:.2%}")
    return {
        "type": "scatter", "mode": "markers", "name": f"{name}, kept", "showlegend": False,
        "x": [epoch.epoch for epoch in kept], "y": [epoch.validation_accuracy for epoch in kept],
        "marker": {"size": 10, "color": _COLOURS[name], "line": {"width": 2, "color": "@paper"}},
        "hovertemplate": f"{name}: the weights of epoch %{{x}} were kept, {score}<extra></extra>",
    }  # fmt: skip


def labels_alone_from(student: StudentFile | None) -> int | None:
    """The epoch from which the student learned from labels alone, when the teacher had a part before."""
    before = None
    for epoch in student.history if student else []:
        if before and epoch.alpha == 0:
            return epoch.epoch
        before = epoch.alpha
    return None


def _polish(student: StudentFile | None, height: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    epoch = labels_alone_from(student)
    if epoch is None:
        return [], []
    x = epoch - 0.5
    shape = {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "@muted", "width": 1, "dash": "dot"},
    }  # fmt: skip
    return [shape], [note("alpha 0", x=x, y=height, colour="@muted", to_left=True, log_x=False)]
