"""What a language model says of every token: exact losses, and how close two models are, batch by batch.

The logits of a whole data set would be tokens times vocabulary, so those of one batch are all that is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.collate import IGNORED, LABELS, Collator, model_inputs
from edgekd.errors import DataError, Diverged

MOST_LOGITS = 2**25  # numbers of one batch, 128 MiB in float32, our choice


@dataclass(frozen=True)
class TokenAnswers:
    """Of each token that a data set asks for, in its order. Shapes: [tokens]. Units: `losses` in nats."""

    losses: NDArray[np.float64]
    answers: NDArray[np.int64]
    truth: NDArray[np.int64]
    confidences: NDArray[np.float64]


def batch_logits(
    models: tuple[Any, ...], dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
    """Batch by batch the labels of `dataset`, and what each of `models` says where they stand.

    In evaluation mode and without gradients; the models are left in the mode they were in. A batch is smaller than
    `batch_size` rows where the vocabulary is large.

    Shapes: labels [rows, tokens - 1], the first token of each row left out; logits [rows, tokens - 1, vocabulary],
    float32, from the tokens before each label.
    Errors: DataError for an empty data set; Diverged when a logit is NaN or infinite.
    """
    if len(dataset) == 0:
        raise DataError("prediction: the data set has no rows, expected at least one")
    collate, rows = Collator(pad_token_id), dataset.with_format("numpy")
    longest = len(rows[0]["input_ids"])
    at_once = max(1, min(batch_size, MOST_LOGITS // (longest * models[0].config.vocab_size)))
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), at_once):
                batch = collate(rows.__getitems__(list(range(start, min(start + at_once, len(rows))))))
                yield batch[LABELS][:, 1:], tuple(_said(model, batch) for model in models)
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def _said(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in model_inputs(batch).items()}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits[:, :-1].float()
    if not torch.isfinite(logits).all():
        raise Diverged(
            "prediction: found logits that are NaN or infinite, expected numbers. Train with a lower learning rate"
        )
    return logits


def token_answers(
    model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> TokenAnswers:
    """What `model` says of every token that `dataset` asks for. Errors: DataError, Diverged."""
    parts: list[tuple[NDArray[Any], ...]] = []
    for labels, (logits,) in batch_logits((model,), dataset, batch_size, pad_token_id):
        asked = (labels != IGNORED).to(logits.device)
        truth = labels.to(logits.device)[asked]
        known = torch.log_softmax(logits[asked], dim=-1)
        best = known.max(dim=-1)
        losses = -known.gather(-1, truth[:, None])[:, 0]
        found = (losses.double(), best.indices, truth, best.values.double().exp())
        parts.append(tuple(one.cpu().numpy() for one in found))
    if not sum(len(part[0]) for part in parts):
        raise DataError("prediction: the data set asks for no token, expected at least one")
    return TokenAnswers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def perplexity(losses: NDArray[np.float64]) -> float:
    """e to the power of the summed losses by the number of tokens. Shapes: [tokens]. Units: nats in."""
    return float(np.exp(losses.sum() / len(losses)))


def token_divergence(
    student: Any, teacher: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> float:
    """The mean KL(teacher ‖ student) of the whole distributions, per token that `dataset` asks for.

    Units: nats. Errors: DataError, Diverged.
    """
    total, tokens = 0.0, 0
    for labels, (own, its) in batch_logits((student, teacher), dataset, batch_size, pad_token_id):
        asked = (labels != IGNORED).to(its.device)
        known, ours = (torch.log_softmax(logits.to(its.device)[asked], dim=-1) for logits in (its, own))
        total += float((known.exp() * (known - ours)).sum(dim=-1).double().sum())
        tokens += int(asked.sum())
    return total / max(1, tokens)


def token_counts(dataset: datasets.Dataset, vocabulary: int) -> NDArray[np.int64]:
    """How often each token stands in `dataset` as a label. Shapes: [vocabulary]."""
    counts = np.zeros(vocabulary, dtype=np.int64)
    for rows in dataset.select_columns([LABELS]).with_format("numpy").iter(batch_size=1000):
        labels = np.concatenate([np.asarray(row).reshape(-1) for row in rows[LABELS]])
        counts += np.bincount(labels[labels != IGNORED], minlength=vocabulary)
    return counts
