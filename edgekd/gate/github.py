"""The verdict for GitHub Actions: a summary in Markdown, and lines that the runner turns into annotations.

Names come from files that anyone may have made, so nothing in them can end a table cell, start a tag or forge a
workflow command.
"""

from __future__ import annotations

import re

from edgekd.gate.verdict import Criterion, Outcome, Verdict, value_text
from edgekd.text import printable
from edgekd.units import text_from_bytes, text_from_s

_MARKDOWN = re.compile(r"([\\`*_\[\]{}()#+!|~-])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "\n": " ", "\t": " "})
_SIGNS = {Outcome.PASS: "✅ pass", Outcome.FAIL: "❌ fail", Outcome.INCONCLUSIVE: "⚠️ inconclusive"}


def summary_text(verdict: Verdict) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY: the verdict, a row per limit, the notes, a row per alternative."""
    lines = [f"## {_SIGNS[verdict.outcome]}: {_cell(verdict.artifact)} ({_cell(verdict.precision)})", ""]
    lines += ["| limit | at most or least | found | bounds | samples | outcome | |", "|---|---|---|---|---|---|---|"]
    lines += [_row(criterion) for criterion in verdict.criteria]
    facts = (("device", verdict.device), ("host", verdict.host), ("runtime", verdict.runtime))
    known = [f"{name} {_cell(value)}" for name, value in facts if value]
    lines += ["", ", ".join([*known, f"SHA-256 `{verdict.sha256[:12]}`"])]
    lines += ["", *(f"- {_cell(note)}" for note in verdict.notes)] if verdict.notes else []
    if verdict.alternatives:
        lines += ["", "| not selected | outcome | median latency | size |", "|---|---|---|---|"]
        lines += [_alternative(other) for other in verdict.alternatives]
    return "\n".join(lines) + "\n"


def _row(criterion: Criterion) -> str:
    low, high = (value_text(bound, criterion.unit) for bound in (criterion.low, criterion.high))
    bounds = f"{low} to {high}" if criterion.low is not None or criterion.high is not None else ""
    cells = (
        criterion.metric,
        value_text(criterion.limit, criterion.unit),
        value_text(criterion.estimate, criterion.unit),
        bounds,
        "" if criterion.n is None else str(criterion.n),
        _SIGNS[criterion.outcome],
        criterion.text,
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _alternative(verdict: Verdict) -> str:
    latency = "unknown" if verdict.median_latency_s is None else text_from_s(verdict.median_latency_s)
    name = f"{verdict.artifact} ({verdict.precision})"
    cells = (name, _SIGNS[verdict.outcome], latency, text_from_bytes(verdict.size_bytes))
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", printable(text, 500)).translate(_ENTITIES)


def annotation_lines(verdict: Verdict) -> list[str]:
    """One '::error …' line per missed limit and one '::warning …' per undecided one of the selected artifact."""
    return [_annotation(verdict, c) for c in verdict.criteria if c.outcome is not Outcome.PASS]


def _annotation(verdict: Verdict, criterion: Criterion) -> str:
    level = "error" if criterion.outcome is Outcome.FAIL else "warning"
    title = _data(f"{verdict.artifact}: {criterion.metric}").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_data(f'{criterion.text} [{criterion.reason}]')}"


def _data(text: str) -> str:
    return printable(text, 1000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
