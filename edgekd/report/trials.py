"""The short distillations before the choice: their learning curves, and how each ended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from edgekd.report.figures import Figure, axis, figure, hover, note, plot, plot_text
from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.sizing.files import ENDED, StudentsFile, TrialRow, TrialsRow
from edgekd.task import TaskWords
from edgekd.units import text_from_count, text_from_s, text_from_share

_GROUPS = {
    "finished": ("reached the last rung", "@plain", "solid"),
    "halved": ("others were better", "@muted", "solid"),
    "pruned": ("could not reach the others", "@muted", "dot"),
    "diverged": ("diverged", "@limit", "dot"),
    "cut": ("cut by the time", "@plain", "dash"),
}
_DECIDED = {
    "loss": "The lowest loss at the last rung decided.",
    "capacity": "Several losses cannot be told apart from the lowest; of these the most parameters decided.",
    "nothing": "No two students could be compared in the time, so the parameters decided.",
}
_COLUMNS = ("layers", "hidden", "ffn", "parameters", "steps", "validation loss", "{score}", "time")


def trials_part(students: StudentsFile, trials: TrialsRow, words: TaskWords) -> Html:
    """The plot and the table, in the words of the task."""
    rungs = ", ".join(map(str, trials.rungs))
    told = (
        f"{len(trials.students)} students that keep the limits, distilled for a short time and judged by "
        f"{trials.examples} validation examples: all up to the first rung, of each rung the best third on to the next "
        f"(at {rungs} steps). "
        f"{_DECIDED[trials.decided]} {_time_text(trials)}"
    )
    if not trials.students:
        return element("p", f"Trials: {_DECIDED[trials.decided]} {_time_text(trials)}")
    return join(
        plot(
            trials_figure(trials, students.chosen, words), "trials", "Short distillations of the leading students", told
        ),
        _table(students, trials, words),
    )


def _time_text(trials: TrialsRow) -> str:
    used = f"They took {text_from_s(trials.seconds)} of {text_from_s(trials.budget_s)}"
    return f"{used}, and were cut when time was up." if trials.cut else f"{used}."


def trials_figure(trials: TrialsRow, chosen: str | None, words: TaskWords) -> Figure:
    """The loss on the validation part by steps, a line for each student; the chosen one is drawn last."""
    traces: list[dict[str, Any]] = []
    shown: set[str] = set()
    for name, row in sorted(trials.students.items(), key=lambda item: item[0] == chosen):
        if row.curve:
            traces += _line(name, row, words, chosen=name == chosen, first=row.ended not in shown)
            shown.add(row.ended)
    steps = [point.step for row in trials.students.values() for point in row.curve] or [1]
    return figure(
        traces, height=380, xaxis=_steps_axis(min(steps), max(steps), trials.rungs),
        yaxis=axis("validation loss, nats", tickformat="~r"), shapes=[_rung_line(step) for step in trials.rungs],
        annotations=[
            note(f"rung {number}", x=step, y=0.99, colour="@muted", to_left=True)
            for number, step in enumerate(trials.rungs, 1) if step <= max(steps)
        ],
    )  # fmt: skip


def _line(name: str, row: TrialRow, words: TaskWords, *, chosen: bool, first: bool) -> list[dict[str, Any]]:
    label, colour, dash = _GROUPS[row.ended]
    if chosen:
        label, colour = f"chosen: {plot_text(name)}", "@accent"
    return [{
        "type": "scatter", "mode": "lines+markers", "name": label, "legendgroup": "chosen" if chosen else row.ended,
        "showlegend": chosen or first,
        "x": [point.step for point in row.curve], "y": [point.loss for point in row.curve],
        "line": {"color": colour, "width": 3 if chosen else 1.5, "dash": dash}, "marker": {"size": 6 if chosen else 4},
        "hoverinfo": "text", "hovertext": [
            hover([
                f"<b>{plot_text(name)}</b>", f"step {point.step}: loss {point.loss:.4f}",
                words.text(point.accuracy), plot_text(ENDED[row.ended]),
            ]) for point in row.curve
        ],
    }]  # fmt: skip


def _steps_axis(low: int, high: int, rungs: Iterable[int]) -> dict[str, Any]:
    ticks = sorted({low, *(step for step in rungs if step <= high)})
    span = [math.log10(low) - 0.03, math.log10(max(high, low + 1)) + 0.03]
    return axis("optimiser steps", type="log", range=span, tickvals=ticks, ticktext=[str(tick) for tick in ticks])


def _rung_line(step: int) -> dict[str, Any]:
    return {
        "type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "@muted", "width": 1, "dash": "dot"},
    }  # fmt: skip


def _table(students: StudentsFile, trials: TrialsRow, words: TaskWords) -> Html:
    rows = {row.id: row for row in students.students}
    order = sorted(trials.students, key=lambda name: _order(trials.students[name]))
    numbers = [element("th", name.format(score=words.score), class_="number") for name in _COLUMNS]
    heading = [element("th", "student"), *numbers, element("th", "")]
    body = []
    for name in order:
        found, listed = trials.students[name], rows.get(name)
        spec = listed.student if listed else None
        cells = [
            *(str(getattr(spec, key)) if spec else "-" for key in ("layers", "hidden", "ffn")),
            text_from_count(listed.capacity) if listed else "-",
            str(found.steps),
            "-" if found.loss is None else f"{found.loss:.4f}",
            "-" if found.accuracy is None else text_from_share(found.accuracy, 2),
            text_from_s(found.seconds) if found.seconds else "-",
        ]
        mark = ", chosen" if name == students.chosen else ""
        row: list[Child] = [name, *[element("td", cell, class_="number") for cell in cells], ENDED[found.ended] + mark]
        body.append(row)
    table = element("table", element("thead", rows_of([heading])), element("tbody", rows_of(body)))
    return element(
        "details",
        element("summary", f"The {len(order)} students that were tried, as numbers"),
        element("div", table, class_="scroll"),
        element(
            "p", f"Parameters are those outside the embeddings; loss and {words.score} those of the last rung at which "
            "a student was compared.", class_="caption",
        ),
    )  # fmt: skip


def _order(row: TrialRow) -> tuple[int, float]:
    return -1 if row.rung is None else -2 - row.rung, math.inf if row.loss is None else row.loss
