"""One class for each example: texts and images alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from edgekd.distill.collate import LABELS, TEACHER_LOGITS
from edgekd.distill.evaluate import answers_of_logits, predict_logits, scaled_cross_entropy
from edgekd.distill.fidelity import Fidelity, fidelity
from edgekd.distill.losses import distillation_loss, hard_target_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.tasks.base import Answers, Asked, Task
from edgekd.errors import DataError
from edgekd.task import TaskName
from edgekd.teaching import SoftLoss


class Classification(Task):
    """Cross entropy and accuracy of examples, distilled from the teacher's logits."""

    def __init__(self, name: TaskName) -> None:
        self.name = name

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        classes = getattr(getattr(model, "config", None), "num_labels", None)
        labels = np.asarray(dataset.with_format("numpy")[LABELS][:])
        if labels.min() < 0 or (classes is not None and labels.max() >= classes):
            raise DataError(
                f"training: found labels {labels.min()} to {labels.max()} in the {name} part, "
                f"expected 0 to {'…' if classes is None else classes - 1}, as many as the model has"
            )

    @override
    def hard_loss(self, outputs: Any, batch: Mapping[str, Any], normaliser: Normaliser) -> torch.Tensor:
        return hard_target_loss(outputs.logits, batch[LABELS], normaliser)

    @override
    def soft_loss(
        self,
        outputs: Any,
        batch: Mapping[str, Any],
        *,
        temperature: float,
        alpha: float,
        normaliser: Normaliser,
        loss: SoftLoss,
    ) -> torch.Tensor:
        return distillation_loss(
            outputs.logits, batch[TEACHER_LOGITS], batch[LABELS], temperature=temperature, alpha=alpha,
            normaliser=normaliser, loss=loss,
        )  # fmt: skip

    @override
    def answers(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> Answers:
        logits = predict_logits(model, dataset, batch_size, pad_token_id)
        labels = np.asarray(dataset.with_format("numpy")[LABELS][:])
        losses, found, confidences = answers_of_logits(logits, labels)
        return Answers(losses, found, labels, confidences, logits)

    @override
    def first_loss(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> float:
        logits = predict_logits(model, dataset, batch_size, pad_token_id)
        return scaled_cross_entropy(logits, np.asarray(dataset.with_format("numpy")[LABELS][:]))

    @override
    def fidelity(self, own: Answers, its: Answers, class_counts: NDArray[np.int64], asked: Asked) -> Fidelity:
        if own.logits is None or its.logits is None:
            raise AssertionError("a classifier's answers hold its logits")
        return fidelity(own.logits, its.logits, own.truth, class_counts)
