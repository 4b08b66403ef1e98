"""The middle of the page: how the student was chosen, how it learned, and how its latency is spread."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.report.distribution import MOST_SAMPLES, Limits, distribution_figure, samples_figure
from edgekd.report.figures import plot
from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.report.measured import Measured
from edgekd.report.pareto import Point, pareto_figure, points_of, shown_of
from edgekd.report.run import RunFolder, StudentFile, TeacherFile
from edgekd.report.starts import start_text, starts_part
from edgekd.report.steps import missing
from edgekd.report.training import (
    ending_text,
    fidelity_text,
    fork_text,
    labels_alone_from,
    loss_figure,
    score_figure,
)
from edgekd.report.trials import trials_part
from edgekd.sizing.files import MeasurementRow, SizingFile, StudentsFile
from edgekd.sla import quantile_from_name
from edgekd.units import text_from_bytes, text_from_count, text_from_j, text_from_s, text_from_share


def choice(run: RunFolder) -> Html:
    """The section about sizing."""
    title = element("h2", "The choice")
    students, sizing = run.students, run.sizing
    if students is None or sizing is None:
        return join(title, missing(run, "No student has been chosen yet.", "size"))
    return join(
        title,
        element("p", _choice_text(students)),
        _pareto(students, sizing),
        _measured_table(students, sizing),
        trials_part(students, sizing.trials, run.words) if sizing.trials else None,
        _refused(students),
    )


def _choice_text(students: StudentsFile) -> str:
    teacher, listed = students.teacher, len(students.students)
    of_teacher = f"the teacher {teacher.id} ({text_from_count(teacher.parameters)} parameters)"
    if students.possible is None:
        many = f"{students.considered} combinations searched for students of {of_teacher}, {listed} of them listed"
    else:
        many = f"{students.considered} combinations considered, {students.possible} of them students of {of_teacher}"
        many += f", {listed} of these listed" if listed < students.possible else ""
    return f"{many}. {_sentence(students.reason)}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def _pareto(students: StudentsFile, sizing: SizingFile) -> Html | None:
    points = points_of(students, sizing)
    if not points:
        return None
    ids = {point.row.id for point in points}
    title = f"Predicted and measured latency of {len(ids)} {'student' if len(ids) == 1 else 'students'}"
    told = [
        "Untrained: latency does not depend on what the weights are.",
        "Bars are where a prediction should lie; a line joins it to its measurement."
        if sizing.measurements else "Predicted from the device profile alone; nothing was measured.",
        "The dotted line is the front: more parameters take longer.",
        "A limit of a higher percentile asks for a median somewhat left of it.",
        *[_fit_text(precision, sizing) for precision in students.precisions],
        _error_text(sizing), _front_text(sizing),
    ]  # fmt: skip
    shown = len(shown_of(points, sizing))
    if shown < len(points):
        told.append(f"{shown} of {len(points)} candidates are drawn, every measured one among them.")
    return plot(pareto_figure(students, sizing), "pareto", title, " ".join(text for text in told if text))


def _fit_text(precision: str, sizing: SizingFile) -> str:
    fits = sizing.fits.get(precision)
    fit = fits.latency if fits else None
    if fit is None:
        return ""
    coverage = text_from_share(float(fit["coverage"]), 0)
    return f"{precision}: corrected by {fit['samples']} measurements, bars expected to hold {coverage} of students."


def _error_text(sizing: SizingFile) -> str:
    found = sizing.error
    if found is None:
        return ""
    middle, worst = text_from_share(found.median), text_from_share(found.worst)
    return (
        f"The {found.candidates} finalists were predicted before they were measured: off by {middle} in the median and "
        f"{worst} at worst, {found.held} within their bars."
    )


def _front_text(sizing: SizingFile) -> str:
    front, named = sizing.front, len(sizing.pareto)
    told = (
        [f"{named} of the {front.candidates} candidates on the front are listed."] if named < front.candidates else []
    )
    if front.within is None:
        told.append("The front is that of an even part of the space.")
    elif front.within:
        told.append(f"Students that were not looked at may have up to {text_from_share(front.within)} more parameters.")
    return " ".join(told)


def _measured_table(students: StudentsFile, sizing: SizingFile) -> Html | None:
    shown = [point for point in points_of(students, sizing) if point.measurement]
    if not shown:
        return None
    shown.sort(key=lambda point: (-point.row.capacity, point.name))
    energy = any(point.measurement and point.measurement.energy_j is not None for point in shown)
    columns = (*_COLUMNS, "energy of an inference") if energy else _COLUMNS
    heading = [element("th", "candidate"), *[element("th", name, class_="number") for name in columns]]
    rows = [_measured_row(point, energy=energy) for point in shown]
    table = element("table", element("thead", rows_of([heading])), element("tbody", rows_of(rows)))
    return element(
        "details",
        element("summary", f"The {len(shown)} candidates that were measured, as numbers"),
        element("div", table, class_="scroll"),
    )


_COLUMNS = ("parameters", "predicted", "from", "to", "measured", "peak memory")


def _measured_row(point: Point, *, energy: bool) -> list[Child]:
    span = point.forecast.latency_s if point.forecast else None
    found = point.measurement
    ends = (span.mid, span.low, span.high) if span else (None, None, None)
    peak = found.peak_memory_bytes if found else None
    cells = [
        text_from_count(point.row.parameters),
        *("-" if end is None else text_from_s(end) for end in ends),
        text_from_s(found.latency_s) if found else "-",
        "-" if peak is None else text_from_bytes(peak),
        *([_energy_text(found)] if energy else []),
    ]
    return [point.name, *[element("td", cell, class_="number") for cell in cells]]


def _energy_text(found: MeasurementRow | None) -> str:
    return "-" if found is None or found.energy_j is None else f"{text_from_j(found.energy_j)} ({found.rail})"


def _refused(students: StudentsFile) -> Html | None:
    lines = [f"{number} refused: {reason}" for reason, number in students.refused.items()] + students.warnings
    if not lines:
        return None
    listed = element("ul", [element("li", line) for line in lines])
    return element("details", element("summary", "What was left out, and warnings"), listed)


def training(run: RunFolder) -> Html:
    """The section about the two trainings."""
    title = element("h2", "The training")
    parts: list[Child] = [title]
    if run.teacher is None:
        parts.append(missing(run, "The teacher is not ready yet.", "teacher"))
    if run.student is None:
        parts.append(missing(run, "No student has been distilled yet.", "distill"))
    parts += [element("p", text) for text in _training_texts(run)]
    if run.student is not None:
        if run.student.warning is not None:
            parts.append(element("p", f"Warning: {run.student.warning}.", class_="warning"))
        parts.append(starts_part(run.student.initialisation))
    if (run.teacher and run.teacher.history) or (run.student and run.student.history):
        parts.append(_training_plots(run))
    return join(*parts)


def _training_texts(run: RunFolder) -> list[str]:
    teacher, student, words = run.teacher, run.student, run.words
    judged = words.head != "none"  # a sentence encoder is what its students are judged by
    lines = []
    if teacher is not None:
        how = _ending(teacher) if teacher.history else "It was taken as it is."
        right = f", {words.text(teacher.validation_accuracy, 2)} on the validation part" if judged else ""
        lines.append(f"Teacher: {teacher.origin}{right}. {how}")
    if student is not None:
        begun = start_text(student.initialisation)
        started = f" {begun}" if begun else ""
        said = f"{words.text(student.validation_accuracy, 2)} on the validation part"
        if judged:
            said += f", the teacher {text_from_share(student.teacher_validation_accuracy, 2)}"
        if judged and student.validation_loss is not None and student.teacher_validation_loss is not None:
            own, its = (words.loss_text(loss) for loss in (student.validation_loss, student.teacher_validation_loss))
            said += f" ({words.loss} {own} and {its})"
        lines.append(f"Student: {said}.{started} {_ending(student)}")
        if student.fork is not None:
            lines.append(fork_text(student.fork))
        lines.append(fidelity_text(student, words))
    return lines


def _ending(told: TeacherFile | StudentFile) -> str:
    kept = f"The weights of epoch {told.best_epoch} were kept" if told.best_epoch is not None else "It was trained"
    why = f"; {ending_text(told.stopped)}" if told.stopped else ""
    return f"{kept} of {len(told.history)}{why}."


_LOSSES_OF_EMBEDDINGS = (
    "The training loss adds where each vector lies to how near the others lie, the validation loss is the latter alone "
    "among all texts of that part: compare each with itself."
)
_LOSSES = (
    "The training loss of a student is the distillation loss, the validation loss cross entropy: compare each with "
    "itself."
)


def _training_plots(run: RunFolder) -> Html:
    epoch, words = labels_alone_from(run.student), run.words
    losses = _LOSSES_OF_EMBEDDINGS if words.head == "none" else _LOSSES
    alone = f" From epoch {epoch} the student learned from labels alone (alpha 0)." if epoch is not None else ""
    return element(
        "div",
        plot(score_figure(run.teacher, run.student, words), "score",
             f"{words.score[:1].upper()}{words.score[1:]} by epoch", f"Dots mark the weights that were kept.{alone}"),
        plot(loss_figure(run.teacher, run.student), "loss", "Loss by epoch",
             losses if run.student else "Cross entropy, on the training and on the validation part."),
        class_="plots",
    )  # fmt: skip


def latency(run: RunFolder) -> Html:
    """The section about the raw latencies."""
    title = element("h2", "The latency")
    timed = [found for found in run.measured if found.samples_ns]
    if not timed:
        return join(title, missing(run, "No latency has been measured for a verdict yet.", "bench"))
    count = sum(len(found.samples_ns) for found in timed)
    runs = sum(len(found.runs_ns) for found in timed)
    return join(
        title,
        plot(distribution_figure(timed, limits_of(run)), "distribution",
             f"{count} inferences of {len(timed)} {'artifact' if len(timed) == 1 else 'artifacts'}",
             "Read across: how long the given share of inferences takes at most. A limit is kept where the curve "
             "passes above and left of its cross. Dots: p50, p95, p99."),
        plot(samples_figure(timed), "samples", "Every inference in the order it happened",
             f"{runs} process runs, told apart by shade. {_thinned_text(timed)}"),
    )  # fmt: skip


def _thinned_text(timed: Sequence[Measured]) -> str:
    count = sum(len(found.samples_ns) for found in timed)
    if all(len(found.samples_ns) <= MOST_SAMPLES // len(timed) for found in timed):
        return "All samples are drawn."
    return (
        f"Of {count} samples about {MOST_SAMPLES} are drawn: the fastest, middle and slowest of each stretch, so "
        "bursts stay visible and the spread looks wider than it is."
    )


def limits_of(run: RunFolder) -> Limits:
    """The latency limits as (name, quantile, seconds): those judged, or those the sizing applied."""
    if run.verdict is not None:
        asked = [(c.metric, c.limit) for c in run.verdict.criteria if c.metric.startswith("latency.")]
    else:
        asked = [(row.name, row.value) for row in run.sizing.limits] if run.sizing else []
    named = [(name.removeprefix("latency."), limit) for name, limit in asked if name.startswith("latency.")]
    return [(name, p, limit) for name, limit in named if (p := _quantile(name)) is not None]


def _quantile(name: str) -> float | None:
    try:
        return quantile_from_name(name)
    except ValueError:
        return None
