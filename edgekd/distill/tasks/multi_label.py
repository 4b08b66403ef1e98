"""Any number of labels for each example: every pair of an example and a label is a question, answered yes or no."""

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
from edgekd.distill.losses import binary_loss, multi_label_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.tasks.base import Answers
from edgekd.distill.tasks.logits import LogitsTask
from edgekd.errors import DataError, InputError, TeacherError
from edgekd.measures import f1, f1_micro
from edgekd.teaching import SoftLoss


class MultiLabel(LogitsTask):
    """Binary cross entropy and micro F1, distilled label by label. A label applies from the probability 0.5 on.

    Units are pairs, example after example; the two classes of a pair are no and yes, so the logits of a pair with the
    logit z are -z/2 and z/2.
    """

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        classes, labels = getattr(getattr(model, "config", None), "num_labels", None), _labels(dataset)
        if (
            labels.ndim != 2
            or (classes is not None and labels.shape[1] != classes)
            or not np.isin(labels, (0, 1)).all()
        ):
            raise DataError(
                f"training: found labels of shape {labels.shape} from {labels.min()} to {labels.max()} in the {name} "
                f"part, expected 0 or 1 for each of {'the' if classes is None else classes} labels of the model"
            )

    @override
    def hard_loss(self, outputs: Any, batch: Mapping[str, Any], normaliser: Normaliser) -> torch.Tensor:
        return binary_loss(outputs.logits, batch[LABELS], normaliser)

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
        if loss != "kl":
            raise InputError(f"distill.loss is {loss}, which needs classes that exclude each other, expected kl")
        return multi_label_loss(
            outputs.logits, batch[TEACHER_LOGITS], batch[LABELS], temperature=temperature, alpha=alpha,
            normaliser=normaliser,
        )  # fmt: skip

    @override
    def units(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = predict_logits(model, dataset, batch_size, pad_token_id).reshape(-1)
        return np.stack([-found / 2, found / 2], axis=-1), _labels(dataset).reshape(-1)

    @override
    def score(self, found: Answers) -> float:
        return f1_micro(found.answers.tolist(), found.truth.tolist())

    @override
    def class_counts(self, dataset: datasets.Dataset, classes: int) -> NDArray[np.int64]:
        """The pairs that do not apply, and those that do. Shapes: [2]."""
        return np.bincount(_labels(dataset).reshape(-1), minlength=2)

    @override
    def check_teacher(self, found: Answers, class_counts: NDArray[np.int64]) -> None:
        """Refuse a teacher that is no better than answering yes to everything, the best that needs no knowledge.

        Errors: TeacherError.
        """
        true, reached = int(found.truth.sum()), self.score(found)
        needed = f1(true, len(found.truth), true)
        if reached <= needed:
            raise TeacherError(
                f"teacher: micro F1 {reached:.3f} on {len(found.truth)} pairs of example and label of the validation "
                f"part, expected more than {needed:.3f}, that of all labels for every example. A student cannot learn "
                "from it: fine-tune the teacher longer, or check that its labels are in the order of the data"
            )


def _labels(dataset: datasets.Dataset) -> NDArray[np.int64]:
    return np.asarray(dataset.with_format("numpy")[LABELS][:], dtype=np.int64)
