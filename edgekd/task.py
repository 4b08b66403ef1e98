"""What students are made for: the tasks by name, with what of them is said to users. No torch here."""

from __future__ import annotations

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
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True, slots=True)
class TaskWords:
    """A task in words. `score` is the measure that a student is judged by, a share of 1; `said` puts one in a sentence.

    `kind` is that of its inputs, `head` what a model for it answers, `labelling` what labels its data set has.
    """

    kind: Literal["text", "image"]
    head: Head
    score: str
    said: str
    labelling: Labelling = "one"

    @property
    def labelled(self) -> bool:
        """Whether its data set has labels beside the inputs."""
        return self.labelling != "none"

    def text(self, score: float, digits: int = 1) -> str:
        """'94.2 % right'."""
        return self.said.format(text_from_share(score, digits))


TASKS: dict[TaskName, TaskWords] = {
    "text-classification": TaskWords("text", "sequence", "accuracy", "{} right"),
    "image-classification": TaskWords("image", "sequence", "accuracy", "{} right"),
    "multi-label-classification": TaskWords("text", "sequence", "micro F1", "micro F1 {}", labelling="many"),
    "token-classification": TaskWords("text", "tokens", "accuracy", "{} of the tokens right", labelling="tokens"),
    "sentence-embedding": TaskWords(
        "text", "none", "nearest-text agreement", "{} of nearest texts as by the teacher", labelling="none"
    ),
    "causal-lm": TaskWords("text", "language", "next-token accuracy", "{} of next tokens right", labelling="none"),
}
