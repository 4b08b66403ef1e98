"""The attempts of a run as rows, for terminal and page alike: what was expected, what was found, what it led to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.gate.verdict import value_text
from edgekd.report.headline import limit_name
from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.report.run import RunFolder
from edgekd.sizing.attempts import Attempt, AttemptsFile, Truth
from edgekd.sizing.proposal import told
from edgekd.task import TaskWords
from edgekd.text import printable
from edgekd.units import text_from_share

HEADING = ("attempt", "student", "limit", "expected", "found", "asked for", "verdict", "validation", "then")


@dataclass(frozen=True, slots=True)
class Line:
    """One attempt as text: the limit that decided, with what it should have taken and what it took."""

    cells: tuple[str, ...]
    outcome: str
    taken: bool


def lines_of(file: AttemptsFile, words: TaskWords) -> list[Line]:
    """A line for each attempt, in their order, in the words of their task."""
    attempts = file.attempts
    return [_line(file, place, attempt, attempts[place + 1 :], words) for place, attempt in enumerate(attempts)]


def _line(file: AttemptsFile, place: int, attempt: Attempt, following: Sequence[Attempt], words: TaskWords) -> Line:
    precision, truth = _shown(attempt)
    cells = (
        str(place + 1),
        f"{printable(attempt.name, 60)} {printable(precision, 20)}",
        limit_name(truth.metric, words),
        "-" if truth.expected is None else value_text(told(attempt, precision, truth), truth.unit),
        _found_text(truth),
        f"at {'least' if truth.metric == 'accuracy' else 'most'} {value_text(truth.limit, truth.unit)}",
        attempt.outcome.upper(),
        text_from_share(attempt.validation_accuracy, 2),
        _then(file, attempt, following),
    )
    return Line(cells, attempt.outcome, attempt.number == file.best)


def _shown(attempt: Attempt) -> tuple[str, Truth]:
    """The limit that decided: a cost that is taken most, unless that was kept and another limit was not."""
    precision, worst = attempt.nearest, attempt.worst
    open_ = [truth for truth in attempt.truths[precision] if truth.outcome != "pass"]
    if worst is None or (worst.outcome == "pass" and open_):
        return precision, (open_ or attempt.truths[precision])[0]
    return precision, worst


def _found_text(truth: Truth) -> str:
    found = value_text(truth.estimate, truth.unit)
    return found if truth.high is None else f"{found} (at most {value_text(truth.high, truth.unit)})"


def _then(file: AttemptsFile, attempt: Attempt, following: Sequence[Attempt]) -> str:
    aim = following[0].learned.aim if following else None
    said = [f"a {aim.direction} one"] if aim else []
    return ", ".join([*said, *(["taken"] if attempt.number == file.best else [])])


def ending_text(file: AttemptsFile) -> str:
    """'3 students were trained. It ended there: ...'."""
    number = len(file.attempts)
    many = "One student was" if number == 1 else f"{number} students were"
    return f"{many} trained and judged" + (f"; no other one, for {printable(file.ended, 300)}" if file.ended else "")


def attempts(run: RunFolder) -> Html | None:
    """The section of the page; nothing where no attempt has ended."""
    file = run.attempts
    if file is None or not file.attempts:
        return None
    title, said = element("h2", "The attempts"), element("p", f"{ending_text(file)}.")
    if len(file.attempts) == 1:
        return join(title, said)
    heading = [element("th", name, class_="number" if name in _NUMBERS else None) for name in HEADING]
    body = rows_of(_cells(line) for line in lines_of(file, run.words))
    table = element("table", element("thead", rows_of([heading])), element("tbody", body))
    return join(
        title, said, element("div", table, class_="scroll cards"), element("p", _how(run.words), class_="quiet")
    )


_NUMBERS = ("expected", "found", "asked for", "validation")


def _how(words: TaskWords) -> str:
    return (
        "Of each attempt the limit that it takes most of. Expected is what sizing foretold of the untrained student, "
        "with all that the attempts before had taught; the next student takes 10 to 20 % less after a miss, and as "
        "much more where there is room. Validation is the "
        f"{words.score} on the validation part; of the students that pass, the one with the highest is taken."
    )


def _cells(line: Line) -> list[Child]:
    cells: list[Child] = []
    for name, text in zip(HEADING, line.cells, strict=True):
        shown: Child = text
        kind = "number" if name in _NUMBERS else None
        if name == "verdict":
            shown = element("span", text, class_=f"outcome {line.outcome}")
        elif name == "student":
            kind = "selected" if line.taken else None
        elif name == "found" and text.endswith(")"):
            estimate, _, end = text.removesuffix(")").partition(" (")
            shown = element("span", estimate, element("small", end))
        cells.append(element("th" if name == "student" else "td", shown, class_=kind, data_label=name))
    return cells
