"""How far the student's probabilities are from the teacher's, at a temperature.

Every function takes student and teacher logits [..., classes], a temperature, a normaliser (else the rows that count)
and a mask [...] of the rows that count (else all), and gives a scalar. T² keeps the gradient's size apart from T.
Errors of each: InputError for shapes that do not fit, or a temperature that is not positive.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import Normaliser, check_logits, check_temperature, divided, picked
from edgekd.errors import InputError

# Added to the variance of a row of logits: equal logits have none. Our choice, far below any that was trained.
LEAST_VARIANCE = 1.0e-6


def soft_target_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """T² KL(softmax(teacher / T) ‖ softmax(student / T)): the student must cover all that the teacher holds possible.

    Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    student, teacher = _log_probabilities(student_logits, teacher_logits, temperature, mask)
    return divided(temperature**2 * _kl(teacher, student), len(student), normaliser)


def reverse_kl_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """T² KL(softmax(student / T) ‖ softmax(teacher / T)): the student may hold possible only what the teacher does.

    Source: Gu et al. 2023, MiniLLM, arXiv:2306.08543.
    """
    student, teacher = _log_probabilities(student_logits, teacher_logits, temperature, mask)
    return divided(temperature**2 * _kl(student, teacher), len(student), normaliser)


def jensen_shannon_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    weight: float = 0.5,
) -> torch.Tensor:
    """T² (w KL(teacher ‖ mixture) + (1 - w) KL(student ‖ mixture)); mixture = w teacher + (1 - w) student.

    Bounded by T² log 2 a row at w = 0.5. Divided by w it tends to the forward KL as w goes to 0, and divided by 1 - w
    to the reverse KL as w goes to 1.
    Errors: InputError also for a weight that is not between 0 and 1.
    Source: Agarwal et al. 2024, arXiv:2306.13649 (generalised Jensen-Shannon divergence).
    """
    if not 0 < weight < 1:
        raise InputError(f"Jensen-Shannon divergence: found the weight {weight}, expected a number between 0 and 1")
    student, teacher = _log_probabilities(student_logits, teacher_logits, temperature, mask)
    mixture = torch.logaddexp(teacher + math.log(weight), student + math.log1p(-weight))
    found = weight * _kl(teacher, mixture) + (1 - weight) * _kl(student, mixture)
    return divided(temperature**2 * found, len(student), normaliser)


def standardised_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The soft-target loss of logits whose every row was brought to mean 0 and standard deviation 1.

    The student then has to agree with the teacher about the classes, and not about the size of logits.
    Errors: InputError also for fewer than 3 classes: two standardised logits are always 1 and -1.
    Source: Sun et al. 2024, arXiv:2403.01427.
    """
    check_logits(student_logits, teacher_logits, mask)
    if student_logits.shape[-1] < 3:
        raise InputError(
            f"distillation: found {student_logits.shape[-1]} classes, expected at least 3 for standardised logits: "
            "of two they say only which is larger. Choose another loss"
        )
    student, teacher = _standardised(picked(student_logits, mask)), _standardised(picked(teacher_logits, mask))
    total = soft_target_loss(student, teacher, temperature, 1)
    return divided(total, len(student), normaliser)


def _standardised(rows: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(rows, rows.shape[-1:], eps=LEAST_VARIANCE)


def _log_probabilities(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    check_logits(student_logits, teacher_logits, mask)
    check_temperature(temperature)
    return (
        functional.log_softmax(picked(student_logits, mask) / temperature, dim=-1),
        functional.log_softmax(picked(teacher_logits.detach(), mask) / temperature, dim=-1),
    )


def _kl(true: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """KL(true ‖ model) of log-probabilities [rows, classes], summed over all."""
    return functional.kl_div(model, true, reduction="sum", log_target=True)
