"""The student beside its teacher: an artifact per column, what it takes and what it gives per row."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.report.markup import Html, element, join
from edgekd.report.measured import Measured, share_text, speed_text
from edgekd.report.quality import Measure, measures_of
from edgekd.report.run import RunFolder
from edgekd.report.steps import missing
from edgekd.units import text_from_bytes, text_from_count, text_from_s, text_from_share


def versus(run: RunFolder) -> Html:
    """The section; what to run when nothing was measured."""
    title = element("h2", "The student against its teacher")
    if not run.measured:
        return join(title, missing(run, "No artifact has been measured yet.", "bench"))
    teacher = next((found for found in run.measured if found.artifact.role == "teacher"), None)
    return join(title, element("p", _summary(run), class_="quiet"), _table(run, teacher))


def _summary(run: RunFolder) -> str:
    agreement = run.student.agreement if run.student else None
    told = "The small lines compare with the teacher. Latency is over all process runs, memory is the highest peak."
    if agreement is not None:
        told += f" Student and teacher agree on {text_from_share(agreement)} of the {run.words.units} of the "
        told += "validation part."
    return told


def rows_for(run: RunFolder) -> list[Measure]:
    """The rows of the table."""

    def parameters(found: Measured) -> float | None:
        told = {"teacher": run.teacher, "student": run.student}.get(found.artifact.role)
        return told.parameters if told else None

    def quantile(p: float) -> Callable[[Measured], float | None]:
        return lambda found: found.quantile_s(p)

    return [
        Measure("parameters", parameters, text_from_count, share_text),
        Measure("size on disk", lambda found: float(found.artifact.size_bytes), text_from_bytes, share_text),
        *measures_of(run.measured),
        Measure("p50 latency", quantile(0.5), text_from_s, speed_text),
        Measure("p95 latency", quantile(0.95), text_from_s, speed_text),
        Measure("p99 latency", quantile(0.99), text_from_s, speed_text),
        Measure("peak memory", lambda found: found.peak_memory_bytes, text_from_bytes, share_text),
    ]


def _table(run: RunFolder, teacher: Measured | None) -> Html:
    chosen = run.verdict.sha256 if run.verdict else None
    heads = [element("th", "")]
    for found in run.measured:
        mark = " selected" if found.artifact.sha256 == chosen else ""
        heads.append(element("th", found.label, class_=f"number{mark}", title=found.artifact.name))
    body = [
        element("tr", element("th", row.title), [_cell(row, found, teacher) for found in run.measured])
        for row in rows_for(run)
    ]
    table = element("table", element("thead", element("tr", heads)), element("tbody", body))
    return element("div", table, class_="scroll versus")


def _cell(row: Measure, found: Measured, teacher: Measured | None) -> Html:
    value = row.value(found)
    if value is None:
        return element("td", "-", class_="number")
    reference = row.value(teacher) if teacher is not None and teacher is not found else None
    ratio = row.ratio(value, reference) if reference else ""
    small = [element("small", text) for text in (ratio, row.detail(found)) if text]
    return element("td", row.text(value), small, class_="number")
