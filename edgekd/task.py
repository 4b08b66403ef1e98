"""What students are made for: the tasks by name, with what of them is said to users. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from edgekd.student import Head
from edgekd.units import text_from_share

TaskName = Literal[
    "text-classification", "image-classification", "multi-label-classification", "token-classification",
    "sentence-embedding", "causal-lm",
]  # fmt: skip
Labelling = Literal["none", "one", "many", "tokens"]
"""What the labels of an example are: none, one class, any number of labels, or one tag for each of its words."""
Metric = Literal["accuracy", "f1_micro"]
"""How a score is computed of answers and labels: the share of equal ones, or the micro F1 where all are 1 or 0."""
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True, slots=True)
class TaskWords:
    """A task in words. `score` is the measure that a student is judged by, a share of 1; `said` puts one in a sentence.

    `kind` is that of its inputs, `head` what a model for it answers, `labelling` what labels its data set has.
    `units` are what is judged, in the plural; `counted` says of `n` of them on the data set `where` how many are
    `right`, or what `share` the score is. `loss` is what people are told of a mean loss: see loss_text.
    """

    kind: Literal["text", "image"]
    head: Head
    score: str
    said: str
    labelling: Labelling = "one"
    metric: Metric = "accuracy"
    units: str = "examples"
    counted: str = "{right} of {n} answers on {where} are right ({share})"
    loss: Literal["cross entropy", "perplexity", "divergence"] = "cross entropy"

    @property
    def labelled(self) -> bool:
        """Whether its data set has labels beside the inputs."""
        return self.labelling != "none"

    def text(self, score: float, digits: int = 1) -> str:
        """'94.2 % right'."""
        return self.said.format(text_from_share(score, digits))

    def counted_text(self, right: int, n: int, where: str, score: float) -> str:
        """'88 of 100 answers on sst2 are right (88.00 %)'."""
        return self.counted.format(right=right, n=n, where=where, share=text_from_share(score, 2))

    def loss_text(self, loss: float) -> str:
        """'0.114' of a mean loss in nats, or '23.41' where a perplexity is told: e to the power of it."""
        return perplexity_text(perplexity_of(loss)) if self.loss == "perplexity" else f"{loss:.3g}"


TASKS: dict[TaskName, TaskWords] = {
    "text-classification": TaskWords("text", "sequence", "accuracy", "{} right"),
    "image-classification": TaskWords("image", "sequence", "accuracy", "{} right"),
    "multi-label-classification": TaskWords(
        "text", "sequence", "micro F1", "micro F1 {}", labelling="many", metric="f1_micro",
        units="pairs of example and label",
        counted="micro F1 of {n} pairs of example and label on {where} is {share}",
    ),
    "token-classification": TaskWords(
        "text", "tokens", "tag accuracy", "{} of the words tagged right", labelling="tokens", units="words",
        counted="{right} of {n} words on {where} are tagged right ({share})",
    ),
    "sentence-embedding": TaskWords(
        "text", "none", "nearest-text agreement", "{} of nearest texts as by the teacher", labelling="none",
        units="texts", counted="{right} of {n} texts on {where} have the teacher's nearest text ({share})",
        loss="divergence",
    ),
    "causal-lm": TaskWords(
        "text", "language", "next-token accuracy", "{} of next tokens right", labelling="none", units="tokens",
        counted="{right} of {n} next tokens on {where} are right ({share})", loss="perplexity",
    ),
}  # fmt: skip


def words_of(task: object, metric: Metric = "accuracy") -> TaskWords:
    """The words of a `task` by its name; where that is none of ours, those of the first task with this `metric`."""
    named = (words for name, words in TASKS.items() if name == task)
    return next(named, next(words for words in TASKS.values() if words.metric == metric))


def perplexity_of(loss: float) -> float:
    """e to the power of a mean loss in nats, infinite where that is beyond all floats."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def perplexity_text(perplexity: float) -> str:
    """'23.41'."""
    return f"{perplexity:.2f}"
