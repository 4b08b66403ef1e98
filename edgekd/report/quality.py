"""How good artifacts are, in the words of their task: what terminal and page show of it, and how two compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekd.report.measured import Measured, points_text, rise_text
from edgekd.task import perplexity_text, words_of
from edgekd.text import printable
from edgekd.units import text_from_share


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: the value of an artifact, how a person reads it, and how that compares with another's."""

    title: str
    value: Callable[[Measured], float | None]
    text: Callable[[float], str]
    ratio: Callable[[float, float], str]
    detail: Callable[[Measured], str] = lambda found: ""  # noqa: ARG005  most have none


def measures_of(found: Sequence[Measured]) -> list[Measure]:
    """The measures that the records of `found` hold, what their task is told by first."""
    asked = [each.answers for each in found if each.answers]
    words = asked[0].words if asked else words_of(None)
    score = Measure(words.score, _score, _share_text, points_text, _counted)
    further = [_further(name) for name in dict.fromkeys(name for record in asked for name in record.further)]
    if not any(record.losses for record in asked):
        return [score, *further]
    return [Measure("perplexity", _perplexity, perplexity_text, rise_text, _tokens), score, *further]


def _share_text(share: float) -> str:
    return text_from_share(share, 2)


def _score(found: Measured) -> float | None:
    return found.answers.accuracy if found.answers else None


def _counted(found: Measured) -> str:
    return f"n = {len(found.answers.labels)}" if found.answers else ""


def _perplexity(found: Measured) -> float | None:
    return found.losses.perplexity if found.losses else None


def _tokens(found: Measured) -> str:
    return f"{found.losses.tokens} tokens" if found.losses else ""


def _further(name: str) -> Measure:
    def value(found: Measured) -> float | None:
        return found.answers.further.get(name) if found.answers else None

    # The name is from a file: whatever it says, it is one line.
    return Measure(" ".join(printable(name, 40).split()), value, _share_text, points_text)
