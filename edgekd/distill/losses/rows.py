"""Which rows of a batch count, and by what their sum is divided: what all losses share."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch

from edgekd.errors import InputError

Normaliser = torch.Tensor | float | None

UNLABELLED = -100  # what torch and transformers put where a row has no label


def picked(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The rows of `values` that `mask` lets count, in float32. What stands in the others cannot matter, even NaN.

    Shapes: values [..., width], mask [...]; the answer is [rows, width].
    """
    rows = values.reshape(-1, values.shape[-1])
    return (rows if mask is None else rows[mask.reshape(-1).bool()]).float()


def exact(values: torch.Tensor) -> AbstractContextManager[None]:
    """Inside: no autocast where `values` are, under which even products of float32 numbers are rounded to 16 bits."""
    return torch.autocast(values.device.type, enabled=False)


def divided(total: torch.Tensor, counted: torch.Tensor | float, normaliser: Normaliser) -> torch.Tensor:
    """`total` by `normaliser`, else by what was `counted`. Where nothing counts, the divisor is 1, and not 0."""
    divisor = counted if normaliser is None else normaliser
    if isinstance(divisor, torch.Tensor):
        return total / torch.where(divisor > 0, divisor, 1)
    return total / (divisor if divisor > 0 else 1)


def check_logits(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Refuse logits that do not fit each other or the mask. Shapes: both [..., classes], mask [...]."""
    if student.ndim < 2 or student.shape != teacher.shape:
        raise InputError(
            f"distillation: found student logits {tuple(student.shape)} and teacher logits "
            f"{tuple(teacher.shape)}, expected the same [..., classes]. Do both know the same labels?"
        )
    check_mask(student, mask)


def check_mask(values: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Refuse a mask that does not say of each row of `values` [..., width] whether it counts."""
    if mask is not None and mask.shape != values.shape[:-1]:
        raise InputError(
            f"loss: found a mask {tuple(mask.shape)} for values {tuple(values.shape)}, "
            f"expected one value for each row, {tuple(values.shape[:-1])}"
        )


def check_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Refuse labels that are not one for each row of `logits` [..., classes]."""
    if logits.ndim < 2 or labels.shape != logits.shape[:-1]:
        raise InputError(
            f"loss: found logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, "
            "expected [..., classes] and [...]"
        )


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not positive."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"distillation: found the temperature {temperature}, expected a number above 0")


def labelled(labels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The rows that count and have a label. Shapes: all [...]."""
    known = labels != UNLABELLED
    return known if mask is None else known & mask.bool()
