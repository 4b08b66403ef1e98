"""The first thing on the page: the answer, and limit by limit what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.gate.verdict import Criterion, Outcome, Verdict, value_text
from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.report.run import RunFolder
from edgekd.report.steps import missing
from edgekd.task import TaskWords
from edgekd.units import text_from_s, text_from_share

_NAMES = {
    "memory": "peak memory",
    "energy": "energy of an inference",
    "size": "file size",
    "accuracy": "{score}",
    "accuracy_drop": "{score} lost",
    "perplexity": "perplexity",
    "perplexity_rise": "perplexity above the teacher's",
}


def headline(run: RunFolder) -> Html:
    """The band with the verdict, then its criteria; or what stands in the way; or what is still to be done."""
    if run.nothing_fits:
        return _obstacle(run)
    if run.verdict is None:
        return join(
            _band("none", "NO VERDICT YET", "The run has not come to its end."),
            missing(run, "No artifact has been judged.", "gate"),
        )
    return _judged(run.verdict, run.words)


def limit_name(metric: str, words: TaskWords) -> str:
    """'p95 latency' for latency.p95, 'peak memory' for memory, and for accuracy what the task calls its score."""
    if metric.startswith("latency."):
        return f"{metric.removeprefix('latency.')} latency"
    return _NAMES[metric].format(score=words.score) if metric in _NAMES else metric


def limit_text(criterion: Criterion) -> str:
    """'at most 5.00 ms'."""
    bound = "at least" if criterion.metric == "accuracy" else "at most"
    return f"{bound} {value_text(criterion.limit, criterion.unit)}"


def _band(kind: str, word: str, *sentences: str) -> Html:
    lines = [element("p", sentence) for sentence in sentences]
    return element("div", element("strong", word), lines, class_=f"band {kind}")


def _judged(verdict: Verdict, words: TaskWords) -> Html:
    return join(
        _band(verdict.outcome.value, verdict.outcome.upper(), sentence_of(verdict), asked_of(verdict, words)),
        element(
            "div",
            element(
                "table", element("thead", rows_of([_HEADING], "th")), element("tbody", _rows(verdict.criteria, words))
            ),
            class_="scroll cards",
        ),
        _confidence(verdict),
        _notes("Notes", verdict.notes),
        _notes("Not selected", [f"{other.text} (median {_median(other)})" for other in verdict.alternatives]),
    )


_HEADING = ("limit", "asked for", "found", "interval", "n", "outcome", "")


def sentence_of(verdict: Verdict) -> str:
    """'student-int8 keeps all 3 limits on raspberry-pi-5, measured on board with onnxruntime 1.24.'."""
    kept, every = sum(criterion.outcome is Outcome.PASS for criterion in verdict.criteria), len(verdict.criteria)
    name = verdict.artifact if verdict.precision in verdict.artifact else f"{verdict.artifact} ({verdict.precision})"
    share = f"all {every}" if kept == every > 1 else f"{kept} of {every}"
    place = [
        f"on {verdict.device}" if verdict.device else "",
        f"measured on {verdict.host}" if verdict.host else "",
        f"with {verdict.runtime}" if verdict.runtime else "",
    ]
    where = ", ".join(part for part in (place[0], " ".join(part for part in place[1:] if part)) if part)
    return f"{name} keeps {share} {'limit' if every == 1 else 'limits'} {where}".rstrip() + "."


def asked_of(verdict: Verdict, words: TaskWords) -> str:
    """'The SLA: p95 latency at most 5.00 ms, peak memory at most 200 MB.'."""
    asked = ", ".join(f"{limit_name(each.metric, words)} {limit_text(each)}" for each in verdict.criteria)
    return f"The SLA: {asked}."


def _rows(criteria: Sequence[Criterion], words: TaskWords) -> list[Html]:
    return rows_of([_row(criterion, words) for criterion in criteria])


def _row(criterion: Criterion, words: TaskWords) -> list[Child]:
    interval = _interval(criterion)
    return [
        element("th", limit_name(criterion.metric, words)),
        _number("asked for", limit_text(criterion)),
        _number("found", value_text(criterion.estimate, criterion.unit)),
        _number("interval", interval),
        _number("n", "" if criterion.n is None else str(criterion.n)),
        element("td", element("span", criterion.outcome.upper(), class_=f"outcome {criterion.outcome.value}"),
                data_label="outcome"),
        element("td", criterion.text, _reason(criterion), class_="sentence"),
    ]  # fmt: skip


def _reason(criterion: Criterion) -> Html | None:
    return None if criterion.outcome is Outcome.PASS else element("small", criterion.reason.value)


def _number(label: str, text: str) -> Html:
    return element("td", text, class_="number" if text else "number empty", data_label=label)


def _interval(criterion: Criterion) -> str:
    low, high = criterion.low, criterion.high
    if low is not None and high is not None:
        return f"{value_text(low, criterion.unit)} to {value_text(high, criterion.unit)}"
    if high is not None:
        return f"at most {value_text(high, criterion.unit)}"
    return f"at least {value_text(low, criterion.unit)}" if low is not None else ""


def _confidence(verdict: Verdict) -> Html | None:
    if not any(criterion.unit == "s" for criterion in verdict.criteria):
        return None
    sure = text_from_share(verdict.confidence, 1).replace(".0 %", " %")
    said = f"PASS and FAIL of a latency limit are {sure} sure; what lies between is INCONCLUSIVE."
    return element("p", said, class_="quiet")


def _notes(title: str, notes: Sequence[str]) -> Html | None:
    if not notes:
        return None
    return join(element("h3", title, class_="below"), element("ul", [element("li", text) for text in notes]))


def _median(verdict: Verdict) -> str:
    return "unknown" if verdict.median_latency_s is None else text_from_s(verdict.median_latency_s)


def _obstacle(run: RunFolder) -> Html:
    obstacle = run.sizing.obstacle if run.sizing else None
    if obstacle is None:
        told = run.students.reason if run.students else ""
        return join(
            _band("fail", "FAIL", f"No student of this space keeps the SLA: {told}."),
            missing(run, "sizing.json, which says what stands in the way, is not there.", "size"),
        )
    first, *rest = obstacle.text.splitlines() or [""]
    device = run.students.device if run.students else "the device"
    return join(
        _band("fail", "FAIL", f"No student of this space is known to keep the SLA on {device}. {first}."),
        element("ul", [element("li", line) for line in rest]),
    )
