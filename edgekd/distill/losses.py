"""What a student is taught with: the teacher's soft answers and the true labels, in one loss."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edgekd.errors import InputError

Normaliser = torch.Tensor | float | None


def soft_target_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float, normaliser: Normaliser = None
) -> torch.Tensor:
    """T² KL(softmax(teacher / T) ‖ softmax(student / T)), summed over rows, divided by `normaliser` (else by the rows).

    T² keeps the gradient's size apart from T. Computed in float32; no gradient reaches the teacher.

    Shapes: both [batch, classes].
    Errors: InputError for other shapes or a temperature that is not positive.
    Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    _check_shapes(student_logits, teacher_logits)
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"distillation: found the temperature {temperature}, expected a number above 0")
    student = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits.detach().float() / temperature, dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return temperature**2 * divergence / _rows(student_logits, normaliser)


def hard_target_loss(logits: torch.Tensor, labels: torch.Tensor, normaliser: Normaliser = None) -> torch.Tensor:
    """Cross entropy in float32, summed over rows, divided by `normaliser` (else by the rows).

    Shapes: logits [batch, classes], labels [batch].
    Errors: InputError for other shapes.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise InputError(
            f"loss: found logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, "
            "expected [batch, classes] and [batch]"
        )
    return functional.cross_entropy(logits.float(), labels, reduction="sum") / _rows(logits, normaliser)


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float,
    alpha: float,
    normaliser: Normaliser = None,
) -> torch.Tensor:
    """`alpha` times the soft-target loss plus (1 - `alpha`) times the cross entropy.

    `normaliser` is the number of examples of the whole optimiser step. Under gradient accumulation each part of the
    step is divided by it, so that the parts add up to the loss of the undivided step.

    Shapes: logits [batch, classes], labels [batch].
    Errors: InputError for other shapes, or alpha outside 0 … 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"distillation: found alpha {alpha}, expected a number from 0 to 1")
    if alpha == 0:
        _check_shapes(student_logits, teacher_logits)
        return hard_target_loss(student_logits, labels, normaliser)
    soft = soft_target_loss(student_logits, teacher_logits, temperature, normaliser)
    if alpha == 1:
        return soft
    return alpha * soft + (1 - alpha) * hard_target_loss(student_logits, labels, normaliser)


def _check_shapes(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> None:
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise InputError(
            f"distillation: found student logits {tuple(student_logits.shape)} and teacher logits "
            f"{tuple(teacher_logits.shape)}, expected the same [batch, classes]. Do both know the same labels?"
        )


def _rows(logits: torch.Tensor, normaliser: Normaliser) -> torch.Tensor | float:
    return len(logits) if normaliser is None else normaliser
