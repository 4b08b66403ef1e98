"""The forward KL to a teacher of whom only the most probable answers are known."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import Normaliser, check_mask, divided, picked
from edgekd.errors import InputError

# What is left of 1 after the probabilities that were kept is a difference of float32 numbers: less than this is noise.
LEAST_TAIL = 1.0e-6


def truncated_kl_loss(
    student_logits: torch.Tensor,
    ids: torch.Tensor,
    log_probabilities: torch.Tensor,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    log_tail: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher ‖ student) over the `ids` that were kept of the teacher and one bucket, the tail, for all others.

    Without the tail the student would be taught that all else is impossible. With all ids kept it is the forward KL.
    Only for T = 1: at another temperature the share of the tail does not follow from what was kept. Computed in
    float32, with tails of at least 1e-6 inside the logarithm; no gradient reaches the teacher. `log_tail` is the
    logarithm of the teacher's tail where it was stored: what is missing from 1 tells it only as well as the
    log-probabilities are known.

    Shapes: student logits [..., vocabulary]; ids, each row's different and below the vocabulary, and the teacher's
    log-probabilities [..., k]; `log_tail` [...]; mask [...] of the rows that count (else all; they are the
    normaliser).
    Errors: InputError for other shapes.
    Source: the tail as one bucket is our choice; that probabilities without one mislead is Anshumann et al. 2025,
    arXiv:2503.16870.
    """
    rows, size = student_logits.shape[:-1], student_logits.shape[-1]
    if student_logits.ndim < 2 or ids.shape != log_probabilities.shape or ids.shape[:-1] != rows:
        raise InputError(
            f"distillation: found student logits {tuple(student_logits.shape)}, ids {tuple(ids.shape)} and "
            f"log-probabilities {tuple(log_probabilities.shape)}, expected [..., vocabulary], [..., k] and [..., k]"
        )
    if not 1 <= ids.shape[-1] <= size:
        raise InputError(f"distillation: found {ids.shape[-1]} ids of {size}, expected 1 to {size}")
    check_mask(student_logits, mask)
    if log_tail is not None and log_tail.shape != rows:
        raise InputError(f"distillation: found tails {tuple(log_tail.shape)}, expected {tuple(rows)}, one for each row")
    teacher = picked(log_probabilities.detach(), mask)
    kept = ids.reshape(-1, ids.shape[-1])
    kept = (kept if mask is None else kept[mask.reshape(-1).bool()]).long()
    student = functional.log_softmax(picked(student_logits, mask), dim=-1).gather(-1, kept)
    total = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    tail = _tail(teacher) if log_tail is None else picked(log_tail.detach()[..., None], mask)[:, 0].exp()
    its_tail = _tail(student)
    total = total + (tail * (_log(tail) - _log(its_tail))).sum()
    return divided(total, len(student), normaliser)


def _tail(log_probabilities: torch.Tensor) -> torch.Tensor:
    return (1 - log_probabilities.exp().sum(dim=-1)).clamp(min=0)


def _log(tail: torch.Tensor) -> torch.Tensor:
    return tail.clamp(min=LEAST_TAIL).log()
