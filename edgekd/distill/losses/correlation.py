"""Distillation by correlation: the teacher's preferences count, and not their exact probabilities."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import Normaliser, check_logits, check_temperature, divided, picked

# The authors' weights. Source: Huang et al. 2022, arXiv:2205.10536, and their code.
ROWS_WEIGHT, CLASSES_WEIGHT = 1.0, 1.0
LEAST_NORM = 1.0e-8  # of centred probabilities, our choice: below it nothing varies, and the correlation counts as 0


def correlation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    rows_weight: float = ROWS_WEIGHT,
    classes_weight: float = CLASSES_WEIGHT,
) -> torch.Tensor:
    """w (1 - Pearson's correlation over the classes of a row) + v (1 - that over the rows of a class), a mean each.

    Of probabilities at the temperature, but without the factor T² of the other losses: a correlation hardly depends on
    T, so its gradient does not shrink as theirs do. At T = 1, where the authors use it, that is the same.

    The second part compares rows with each other, so it is a statistic of this batch: under gradient accumulation each
    part of a step correlates its own rows alone, weighs by their number, and the sum is not that of the undivided step.
    The first part is exact. Of one row nothing correlates: the second part is then a constant. Of two classes the first
    part says only which is likelier, and has no gradient. Computed in float32; no gradient reaches the teacher.

    Shapes: both logits [..., classes], mask [...].
    Errors: InputError for other shapes or a temperature that is not positive.
    Source: Huang et al. 2022, DIST, arXiv:2205.10536.
    """
    check_logits(student_logits, teacher_logits, mask)
    check_temperature(temperature)
    student = functional.softmax(picked(student_logits, mask) / temperature, dim=-1)
    teacher = functional.softmax(picked(teacher_logits.detach(), mask) / temperature, dim=-1)
    if len(student) == 0:
        return divided(student.sum(), 0, normaliser)
    by_row = (1 - _correlation(student, teacher, dim=1)).sum()
    by_class = len(student) * (1 - _correlation(student, teacher, dim=0)).mean()
    return divided(rows_weight * by_row + classes_weight * by_class, len(student), normaliser)


def _correlation(ours: torch.Tensor, its: torch.Tensor, dim: int) -> torch.Tensor:
    """Pearson's correlation of two tables along `dim`."""
    ours, its = (table - table.mean(dim, keepdim=True) for table in (ours, its))
    norms = [(table**2).sum(dim).clamp(min=LEAST_NORM**2).sqrt() for table in (ours, its)]
    return (ours * its).sum(dim) / (norms[0] * norms[1])
