"""Decoupled knowledge distillation: what the teacher says of the right class, and of the others among themselves."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import (
    Normaliser,
    check_labels,
    check_logits,
    check_temperature,
    divided,
    labelled,
    picked,
)
from edgekd.errors import InputError

# The authors' weights for CIFAR-100. Source: Zhao et al. 2022, arXiv:2203.08679, and their code.
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0


def decoupled_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    target_weight: float = TARGET_WEIGHT,
    others_weight: float = OTHERS_WEIGHT,
) -> torch.Tensor:
    """T² (`target_weight` KL of right class against the rest + `others_weight` KL of the others among themselves).

    The forward KL is the same sum with weight 1 for the first and (1 - the teacher's probability of the right class)
    for the second: a teacher that is sure says little about the others there. Of two classes only the first part is
    left. Rows without a label (-100) do not count. Computed in float32; no gradient reaches the teacher.

    Shapes: logits [..., classes], labels and mask [...].
    Errors: InputError for other shapes, fewer than two classes, or a temperature that is not positive.
    Source: Zhao et al. 2022, arXiv:2203.08679.
    """
    check_logits(student_logits, teacher_logits, mask)
    check_labels(student_logits, labels)
    check_temperature(temperature)
    if student_logits.shape[-1] < 2:
        raise InputError("distillation: found one class, expected at least 2 for the decoupled loss")
    counts = labelled(labels, mask)
    right = labels[counts][:, None]
    student = _parts(picked(student_logits, counts) / temperature, right)
    teacher = _parts(picked(teacher_logits.detach(), counts) / temperature, right)
    targets, others = (
        functional.kl_div(ours, its, reduction="sum", log_target=True)
        for ours, its in zip(student, teacher, strict=True)
    )
    total = temperature**2 * (target_weight * targets + others_weight * others)
    return divided(total, len(right), normaliser)


def _parts(logits: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities [rows, 2] of right class and rest, and [rows, classes] of the others among themselves."""
    # The lowest finite number and not minus infinity, which would make 0 times infinity out of the right class.
    without = logits.scatter(-1, right, torch.finfo(logits.dtype).min)
    of_all = torch.logsumexp(logits, dim=-1, keepdim=True)
    of_others = torch.logsumexp(without, dim=-1, keepdim=True)
    both = torch.cat([logits.gather(-1, right), of_others], dim=-1) - of_all
    return both, functional.log_softmax(without, dim=-1)
