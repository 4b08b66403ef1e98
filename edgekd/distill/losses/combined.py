"""The loss of a step: the teacher's part, weighed against the true labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from edgekd.distill.losses.correlation import correlation_loss
from edgekd.distill.losses.decoupled import decoupled_loss
from edgekd.distill.losses.divergences import (
    jensen_shannon_loss,
    reverse_kl_loss,
    soft_target_loss,
    standardised_loss,
)
from edgekd.distill.losses.rows import Normaliser, check_labels, check_logits, check_mask, divided, labelled, picked
from edgekd.errors import InputError
from edgekd.teaching import SoftLoss

Divergence = Callable[..., torch.Tensor]
_WITHOUT_LABELS: dict[SoftLoss, Divergence] = {
    "kl": soft_target_loss,
    "reverse_kl": reverse_kl_loss,
    "jensen_shannon": jensen_shannon_loss,
    "dist": correlation_loss,
    "standardised": standardised_loss,
}


def hard_target_loss(
    logits: torch.Tensor, labels: torch.Tensor, normaliser: Normaliser = None, *, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross entropy in float32, summed over rows, divided by `normaliser` (else by the rows that count).

    Rows without a label (-100) do not count.
    Shapes: logits [..., classes], labels and mask [...].
    Errors: InputError for other shapes.
    """
    check_labels(logits, labels)
    check_mask(logits, mask)
    counts = labelled(labels, mask)
    known = labels[counts]
    return divided(functional.cross_entropy(picked(logits, counts), known, reduction="sum"), len(known), normaliser)


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float,
    alpha: float,
    normaliser: Normaliser = None,
    loss: SoftLoss = "kl",
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """`alpha` times the teacher's part, `loss`, plus (1 - `alpha`) times the cross entropy.

    `normaliser` is the number of rows of the whole optimiser step (else the rows of `mask`, else all). Under gradient
    accumulation each part of the step is divided by it, so that the parts add up to the loss of the undivided step.
    Rows without a label (-100) have the teacher's part alone; for `dkd`, which needs the label, they have none.

    Shapes: logits [..., classes], labels and mask [...].
    Errors: InputError for other shapes, alpha outside 0 … 1, or classes too few for the loss.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"distillation: found alpha {alpha}, expected a number from 0 to 1")
    check_logits(student_logits, teacher_logits, mask)
    check_labels(student_logits, labels)
    if normaliser is None:
        normaliser = labels.numel() if mask is None else mask.bool().sum()
    soft: torch.Tensor | None = None
    hard: torch.Tensor | None = None
    if alpha < 1:
        hard = hard_target_loss(student_logits, labels, normaliser, mask=mask)
    if alpha > 0 and loss == "dkd":
        soft = decoupled_loss(student_logits, teacher_logits, labels, temperature, normaliser, mask=mask)
    elif alpha > 0:
        soft = _WITHOUT_LABELS[loss](student_logits, teacher_logits, temperature, normaliser, mask=mask)
    if soft is None or hard is None:
        return torch.as_tensor(hard if soft is None else soft)
    return alpha * soft + (1 - alpha) * hard
