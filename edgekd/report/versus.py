"""The student beside its teacher: an artifact per column, what it takes and what it gives per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekd.report.markup import Html, element, join
from edgekd.report.measured import Measured, points_text, rise_text, share_text, speed_text
from edgekd.report.run import RunFolder
from edgekd.report.steps import missing
from edgekd.units import text_from_bytes, text_from_count, text_from_s, text_from_share


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the value of an artifact, how a person reads it, and how that compares."""

    title: str
    value: Callable[[Measured], float | None]
    text: Callable[[float], str]
    ratio: Callable[[float, float], str]
    detail: Callable[[Measured], str] = lambda found: ""  # noqa: ARG005  most rows have none


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
        told += f" Student and teacher agree on {text_from_share(agreement)} of the validation part."
    return told


def rows_for(run: RunFolder) -> list[Row]:
    """The rows of the table."""

    def parameters(found: Measured) -> float | None:
        told = {"teacher": run.teacher, "student": run.student}.get(found.artifact.role)
        return told.parameters if told else None

    def accuracy(found: Measured) -> float | None:
        return found.answers.accuracy if found.answers else None

    def examples(found: Measured) -> str:
        answers = found.answers
        return f"n = {len(answers.labels)}" if answers else ""

    def perplexity(found: Measured) -> float | None:
        return found.losses.perplexity if found.losses else None

    def tokens(found: Measured) -> str:
        return f"{found.losses.tokens} tokens" if found.losses else ""

    language = any(found.losses for found in run.measured)

    def quantile(p: float) -> Callable[[Measured], float | None]:
        return lambda found: found.quantile_s(p)

    return [
        Row("parameters", parameters, text_from_count, share_text),
        Row("size on disk", lambda found: float(found.artifact.size_bytes), text_from_bytes, share_text),
        Row("accuracy", accuracy, lambda value: text_from_share(value, 2), points_text, examples),
        *([Row("perplexity", perplexity, lambda value: f"{value:.2f}", rise_text, tokens)] if language else []),
        Row("p50 latency", quantile(0.5), text_from_s, speed_text),
        Row("p95 latency", quantile(0.95), text_from_s, speed_text),
        Row("p99 latency", quantile(0.99), text_from_s, speed_text),
        Row("peak memory", lambda found: found.peak_memory_bytes, text_from_bytes, share_text),
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


def _cell(row: Row, found: Measured, teacher: Measured | None) -> Html:
    value = row.value(found)
    if value is None:
        return element("td", "-", class_="number")
    reference = row.value(teacher) if teacher is not None and teacher is not found else None
    ratio = row.ratio(value, reference) if reference else ""
    small = [element("small", text) for text in (ratio, row.detail(found)) if text]
    return element("td", row.text(value), small, class_="number")
