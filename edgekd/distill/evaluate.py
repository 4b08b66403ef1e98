"""What a trained model answers, and how good that is."""

from __future__ import annotations

import math
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.arrow import list_lengths
from edgekd.distill.collate import Collator, model_inputs
from edgekd.errors import DataError, Diverged, InputError, TeacherError

STANDARD_ERRORS = 3


def predict_logits(
    model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> NDArray[np.float32]:
    """The logits of `model`, in evaluation mode and without gradients, in the order of `dataset`.

    Token sequences are batched by length, which saves most of the padding. The model is left in the mode it was in.

    Shapes: [rows, classes].
    Errors: DataError for an empty data set; Diverged when a logit is NaN or infinite.
    """
    if len(dataset) == 0:
        raise DataError("prediction: the data set has no rows, expected at least one")
    collate = Collator(pad_token_id)
    device = next(model.parameters()).device
    rows = dataset.with_format("numpy")
    order = by_length(dataset)
    was_training = model.training
    parts = []
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                picked = rows.__getitems__(order[start : start + batch_size].tolist())
                inputs = {name: value.to(device) for name, value in model_inputs(collate(picked)).items()}
                parts.append(model(**inputs).logits.float().cpu().numpy())
    finally:
        model.train(was_training)
    answers = np.concatenate(parts)
    if not np.isfinite(answers).all():
        raise Diverged(
            "prediction: found logits that are NaN or infinite, expected numbers. Train with a lower learning rate"
        )
    logits = np.empty_like(answers)
    logits[order] = answers
    return logits


def by_length(dataset: datasets.Dataset) -> NDArray[np.int64]:
    """The rows by the length of their token sequence; of images, as they are. Shapes: [rows]."""
    if "input_ids" not in dataset.column_names:
        return np.arange(len(dataset))
    tables = dataset.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=10_000)
    return np.argsort(np.concatenate([list_lengths(table["input_ids"]) for table in tables]), kind="stable")


def accuracy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The share of rows whose largest logit is the label's. Errors: InputError when the lengths differ."""
    check_lengths(logits, labels)
    return float((logits.argmax(axis=-1) == labels).mean())


def cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The mean negative log-probability of the labels. Units: nats. Errors: InputError when the lengths differ."""
    return float(cross_entropies(logits, labels).mean())


def cross_entropies(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """The negative log-probability of each row's label.

    Shapes: [rows]. Units: nats. Errors: InputError when the lengths differ.
    """
    check_lengths(logits, labels)
    found: NDArray[np.float64] = -log_probabilities(logits)[np.arange(len(labels)), labels]
    return found


def answers_of_logits(
    logits: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each row its cross entropy [nats], the class of its largest logit, and the probability of that.

    Shapes: [rows] each. Errors: InputError when the lengths differ.
    """
    check_lengths(logits, labels)
    known = log_probabilities(logits)
    losses: NDArray[np.float64] = -known[np.arange(len(labels)), labels]
    return losses, logits.argmax(axis=-1), np.exp(known.max(axis=-1))


def scaled_cross_entropy(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The cross entropy when the logits are multiplied by whatever number makes it least: ln(classes) at most.

    It says what a model knows, apart from how loudly it says it. Units: nats. Errors: InputError when the lengths
    differ.
    """
    # Convex in the factor, so thirds of the span can be left out one after the other.
    low, high = 0.0, 4.0
    for _ in range(40):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        if cross_entropy(first * logits, labels) <= cross_entropy(second * logits, labels):
            high = second
        else:
            low = first
    return cross_entropy((low + high) / 2 * logits, labels)


def log_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The logarithms of the probabilities that `logits` stand for, in float64. Shapes: both [rows, classes]."""
    wide: NDArray[np.float64] = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def check_teacher(labels: NDArray[Any], predictions: NDArray[Any], class_counts: NDArray[Any]) -> None:
    """Nothing, when the teacher's accuracy is above the majority class's by more than 3 standard errors.

    `class_counts` are the examples per class of the training part: its largest class is what a model that learned
    nothing would always say. The standard error is the binomial one of that answer.

    Errors: TeacherError when the teacher is no better; InputError when the lengths differ.
    """
    check_lengths(predictions, labels)
    majority, base, needed = majority_bar(labels, class_counts)
    reached = float((predictions == labels).mean())
    if reached <= needed:
        raise TeacherError(
            f"teacher: accuracy {reached:.3f} on {len(labels)} validation examples, expected more than {needed:.3f} "
            f"(always answering class {majority} gives {base:.3f}). A student cannot learn from it: fine-tune the "
            "teacher longer, or check that its labels are in the order of the data"
        )


def majority_bar(labels: NDArray[Any], class_counts: NDArray[Any]) -> tuple[int, float, float]:
    """The largest class of the training part, how often it is right, and that plus 3 binomial standard errors."""
    majority = int(np.argmax(class_counts))
    base = float((labels == majority).mean())
    return majority, base, base + STANDARD_ERRORS * math.sqrt(base * (1 - base) / len(labels))


def check_lengths(answers: NDArray[Any], labels: NDArray[Any]) -> None:
    """Errors: InputError when there are not as many answers as labels, or none."""
    if len(labels) == 0 or len(answers) != len(labels):
        raise InputError(
            f"evaluation: found {len(answers)} answers for {len(labels)} labels, expected as many, above 0"
        )
