"""One class for each word of a sentence: what the first token of a word answers; all other tokens have no part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from edgekd.distill.arrow import flat_values
from edgekd.distill.cache import Columns, Question
from edgekd.distill.collate import IGNORED, LABELS, TEACHER_LOGITS, Collator, model_inputs
from edgekd.distill.evaluate import by_length
from edgekd.distill.losses import distillation_loss, hard_target_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.tasks.logits import LogitsTask, check_classes
from edgekd.errors import DataError, Diverged
from edgekd.teaching import SoftLoss


class TokenClassification(LogitsTask):
    """Cross entropy and accuracy of labelled tokens, distilled from the teacher's logits for them.

    In a batch, labels are [B, tokens] with -100 where there is none, and the teacher's logits [B, most x classes]:
    those of the labelled tokens of a row one after the other, filled up with zeros.
    """

    @override
    def units(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = labels_of(dataset)
        flat = np.concatenate(token_logits(model, dataset, batch_size, pad_token_id))
        return flat.reshape(len(labels), -1), labels

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        labels = labels_of(dataset)
        if not len(labels):
            raise DataError(f"training: no token of the {name} part has a label, expected some. Raise data.max_length")
        check_classes(model, labels, name)

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
        labels, flat = batch[LABELS], batch[TEACHER_LOGITS]
        known, classes = labels != IGNORED, outputs.logits.shape[-1]
        its = flat.reshape(len(flat), flat.shape[1] // classes, classes)
        real = torch.arange(its.shape[1], device=its.device) < known.sum(dim=1, keepdim=True)
        return distillation_loss(
            outputs.logits[known], its[real], labels[known], temperature=temperature, alpha=alpha,
            normaliser=normaliser, loss=loss,
        )  # fmt: skip

    @override
    def question(self, top_k: int) -> Question:
        return TOKENS

    @override
    def class_counts(self, dataset: datasets.Dataset, classes: int) -> NDArray[np.int64]:
        return np.bincount(labels_of(dataset), minlength=classes)


def labels_of(dataset: datasets.Dataset) -> NDArray[np.int64]:
    """The labels of all labelled tokens, in the order of the rows. Shapes: [units]."""
    tables = dataset.select_columns([LABELS]).with_format("arrow").iter(batch_size=10_000)
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *(flat_values(table[LABELS]) for table in tables)])
    known: NDArray[np.int64] = labels[labels != IGNORED]
    return known


def token_logits(
    model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> list[NDArray[np.float32]]:
    """The logits of `model` for the labelled tokens of each row, one after the other.

    Shapes: each [labelled tokens x classes]. Errors: DataError for an empty data set; Diverged for logits that are no
    numbers.
    """
    if len(dataset) == 0:
        raise DataError("prediction: the data set has no rows, expected at least one")
    collate, order = Collator(pad_token_id), by_length(dataset)
    device, rows, was_training = next(model.parameters()).device, dataset.with_format("numpy"), model.training
    found: dict[int, NDArray[np.float32]] = {}
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                picked = order[start : start + batch_size].tolist()
                batch = collate(rows.__getitems__(picked))
                inputs = {name: value.to(device) for name, value in model_inputs(batch).items()}
                logits = model(**inputs).logits.float().cpu().numpy()
                known = batch[LABELS].numpy() != IGNORED
                found |= {row: logits[at][known[at]].reshape(-1) for at, row in enumerate(picked)}
    finally:
        model.train(was_training)
    if not all(np.isfinite(each).all() for each in found.values()):
        raise Diverged(
            "prediction: found logits that are NaN or infinite, expected numbers. Train with a lower learning rate"
        )
    return [found[row] for row in range(len(order))]


def _question(model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None) -> Columns:
    return {TEACHER_LOGITS: token_logits(model, dataset, batch_size, pad_token_id)}


TOKENS = Question((TEACHER_LOGITS,), _question)
