"""The tasks that students are trained for."""

from __future__ import annotations

from edgekd.distill.tasks.base import Answers, Asked, Task
from edgekd.distill.tasks.causal_lm import CausalLm
from edgekd.distill.tasks.classification import Classification
from edgekd.distill.tasks.embedding import Embedding
from edgekd.distill.tasks.multi_label import MultiLabel
from edgekd.distill.tasks.token_classification import TokenClassification
from edgekd.task import TaskName

__all__ = ["Answers", "Asked", "Task", "task_of"]

_TASKS: dict[TaskName, Task] = {
    "text-classification": Classification("text-classification"),
    "image-classification": Classification("image-classification"),
    "multi-label-classification": MultiLabel("multi-label-classification"),
    "token-classification": TokenClassification("token-classification"),
    "sentence-embedding": Embedding(),
    "causal-lm": CausalLm(),
}


def task_of(name: TaskName) -> Task:
    """The task of this name."""
    return _TASKS[name]
