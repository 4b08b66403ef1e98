"""Losses of labels that apply or not, each for itself: of multi-label classification.

A row is then an example and a label: every entry of the logits is judged alone, by the probability sigmoid(logit).
Labels are 1 (applies), 0 (does not) or -100 (unknown: has no part). `normaliser` divides the sum over entries, else the
number of entries that count; `mask` says which may.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import UNLABELLED, Normaliser, check_temperature, divided, labelled
from edgekd.errors import InputError


def binary_loss(
    logits: torch.Tensor, labels: torch.Tensor, normaliser: Normaliser = None, *, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross entropy in float32, summed over entries.

    Shapes: logits, labels and mask [..., labels].
    Errors: InputError for shapes that differ, or labels other than 0, 1 and -100.
    """
    _check_shapes(logits, labels=labels, mask=mask)
    counts = labelled(labels, mask)
    known = labels[counts]
    if bool(((known != 0) & (known != 1)).any()):
        found = sorted(set(labels.flatten().tolist()))
        raise InputError(f"loss: found labels such as {found[:5]}, expected 0, 1, or {UNLABELLED} where it is unknown")
    total = functional.binary_cross_entropy_with_logits(logits[counts].float(), known.float(), reduction="sum")
    return divided(total, len(known), normaliser)


def bernoulli_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """T² KL(sigmoid(teacher / T) ‖ sigmoid(student / T)) of each entry, summed: both sides of a label count.

    A logit z of one label says what the two logits z/2 and -z/2 say of two classes, so this is the soft-target loss of
    those. Computed in float32; no gradient reaches the teacher.
    Shapes: both logits and mask [..., labels].
    Errors: InputError for shapes that differ, or a temperature that is not positive.
    Source: Hinton et al. 2015, arXiv:1503.02531 (temperature); Yang et al. 2023, arXiv:2308.06453 (label by label).
    """
    _check_shapes(student_logits, teacher=teacher_logits, mask=mask)
    check_temperature(temperature)
    student, teacher = student_logits, teacher_logits.detach()
    if mask is not None:
        student, teacher = student[mask.bool()], teacher[mask.bool()]
    student, teacher = student.reshape(-1).float() / temperature, teacher.reshape(-1).float() / temperature
    applies = torch.sigmoid(teacher)
    total = (
        applies * (functional.logsigmoid(teacher) - functional.logsigmoid(student))
        + (1 - applies) * (functional.logsigmoid(-teacher) - functional.logsigmoid(-student))
    ).sum()
    return divided(temperature**2 * total, len(student), normaliser)


def multi_label_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float,
    alpha: float,
    normaliser: Normaliser = None,
) -> torch.Tensor:
    """`alpha` times the teacher's part plus (1 - `alpha`) times the binary cross entropy.

    Entries without a label (-100) have no part in either. `normaliser` is the number of entries of the whole optimiser
    step (else of those that count).
    Shapes: all [..., labels].
    Errors: InputError for other shapes or labels, alpha outside 0 … 1, or a temperature that is not positive.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"distillation: found alpha {alpha}, expected a number from 0 to 1")
    hard = binary_loss(student_logits, labels, normaliser) if alpha < 1 else 0.0
    if alpha == 0:
        return torch.as_tensor(hard)
    _check_shapes(student_logits, labels=labels, teacher=teacher_logits)
    known = labels != UNLABELLED
    soft = bernoulli_loss(student_logits, teacher_logits, temperature, normaliser, mask=known)
    return alpha * soft + (1 - alpha) * hard


def _check_shapes(logits: torch.Tensor, **others: torch.Tensor | None) -> None:
    for name, other in others.items():
        if other is not None and other.shape != logits.shape:
            raise InputError(
                f"loss: found logits {tuple(logits.shape)} and {name} {tuple(other.shape)}, expected the same "
                "[..., labels]. Do both know the same labels?"
            )
