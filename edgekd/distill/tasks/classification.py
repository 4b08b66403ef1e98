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
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.losses import distillation_loss, hard_target_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.tasks.logits import LogitsTask, check_classes
from edgekd.teaching import SoftLoss


class Classification(LogitsTask):
    """Cross entropy and accuracy of examples, distilled from the teacher's logits."""

    @override
    def units(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return predict_logits(model, dataset, batch_size, pad_token_id), _labels(dataset)

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        check_classes(model, _labels(dataset), name)

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


def _labels(dataset: datasets.Dataset) -> NDArray[np.int64]:
    return np.asarray(dataset.with_format("numpy")[LABELS][:])
