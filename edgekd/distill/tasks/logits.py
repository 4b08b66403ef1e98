"""What tasks with logits for each unit share: classes of examples or of words, pairs of example and label."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgekd.distill.evaluate import answers_of_logits, scaled_cross_entropy
from edgekd.distill.fidelity import Fidelity, fidelity
from edgekd.distill.tasks.base import Answers, Asked, Task
from edgekd.errors import DataError
from edgekd.task import TaskName


class LogitsTask(Task):
    """Cross entropy of units, whose answer is the class of the largest logit."""

    def __init__(self, name: TaskName) -> None:
        self.name = name

    @abstractmethod
    def units(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What `model` says of each unit, in evaluation mode, and the label. Shapes: [units, classes], [units]."""

    @override
    def answers(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> Answers:
        logits, labels = self.units(model, dataset, batch_size, pad_token_id)
        losses, found, confidences = answers_of_logits(logits, labels)
        return Answers(losses, found, labels, confidences, logits)

    @override
    def first_loss(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> float:
        return scaled_cross_entropy(*self.units(model, dataset, batch_size, pad_token_id))

    @override
    def fidelity(self, own: Answers, its: Answers, class_counts: NDArray[np.int64], asked: Asked) -> Fidelity:
        if own.logits is None or its.logits is None:
            raise AssertionError("a classifier's answers hold its logits")
        return fidelity(own.logits, its.logits, own.truth, class_counts)


def check_classes(model: Any, labels: NDArray[np.int64], name: str) -> None:
    """Refuse labels [units] of the part `name` that are no classes of the model. Errors: DataError."""
    classes = getattr(getattr(model, "config", None), "num_labels", None)
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        raise DataError(
            f"training: found labels {labels.min()} to {labels.max()} in the {name} part, "
            f"expected 0 to {'…' if classes is None else classes - 1}, as many as the model has"
        )
