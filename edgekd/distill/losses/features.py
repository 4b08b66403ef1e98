"""What student and teacher have inside: hidden states and embeddings, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import Normaliser, check_mask, divided, exact, picked
from edgekd.errors import InputError

Projector = Callable[[torch.Tensor], torch.Tensor]
LayerPairs = Sequence[tuple[int, int]]
"""Which layer of the student answers which of the teacher, both counted from 0."""


def hidden_state_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    projector: Projector | None = None,
) -> torch.Tensor:
    """The squared difference of hidden states, a mean over the features and a sum over the tokens.

    `projector` brings the student's states to the teacher's width. `mask` says which tokens count, or by what weight;
    the normaliser is their number, or the sum of weights. Computed in float32; no gradient reaches the teacher.

    Shapes: student [..., its width], teacher [..., its width], mask [...], usually [batch, tokens].
    Errors: InputError for other shapes.
    Source: Jiao et al. 2020, TinyBERT, arXiv:1909.10351.
    """
    ours, its, weights = _rows(student, teacher, mask, projector)
    total = (((ours - its) ** 2).mean(dim=-1) * weights).sum()
    return divided(total, weights.sum(), normaliser)


def cosine_distance_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
    projector: Projector | None = None,
) -> torch.Tensor:
    """1 - the cosine between the student's and the teacher's features: of embeddings or pooled features, a row each.

    All else as for hidden_state_loss.
    Source: Sanh et al. 2019, DistilBERT, arXiv:1910.01108.
    """
    ours, its, weights = _rows(student, teacher, mask, projector)
    total = ((1 - functional.cosine_similarity(ours, its, dim=-1)) * weights).sum()
    return divided(total, weights.sum(), normaliser)


def by_example(mask: torch.Tensor) -> torch.Tensor:
    """Weights that make the tokens of every example count 1 together, however many it has.

    With them the normaliser is a number of examples, as it is for losses on a classifier's logits.
    Shapes: mask and weights [batch, tokens].
    """
    valid = mask.float()
    return valid / valid.sum(dim=-1, keepdim=True).clamp(min=1)


def spread_pairs(student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """A teacher's layer for each of the student: the last of every equal stretch, so that the last answers the last.

    Errors: InputError when the student has more layers.
    Source: Jiao et al. 2020, TinyBERT, arXiv:1909.10351 (uniform mapping).
    """
    if not 1 <= student_layers <= teacher_layers:
        raise InputError(
            f"found a student of {student_layers} layers, expected 1 to {teacher_layers}, as its teacher has"
        )
    return [(layer, -(-(layer + 1) * teacher_layers // student_layers) - 1) for layer in range(student_layers)]


def check_pairs(pairs: LayerPairs, student_layers: int, teacher_layers: int) -> None:
    """Refuse layers that one of the two does not have. Errors: InputError."""
    for which, (who, layers) in enumerate((("student", student_layers), ("teacher", teacher_layers))):
        for pair in pairs:
            if not 0 <= pair[which] < layers:
                raise InputError(
                    f"layers {list(pair)}: found layer {pair[which]} of the {who}, expected 0 to {layers - 1}. "
                    "Layers are counted from 0, the student's first; auto chooses them"
                )


def _rows(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, projector: Projector | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows that count: the student's, projected, the teacher's, and the weight of each."""
    if student.ndim < 2 or student.shape[:-1] != teacher.shape[:-1]:
        raise InputError(
            f"feature loss: found features {tuple(student.shape)} of the student and {tuple(teacher.shape)} of the "
            "teacher, expected the same but for the width"
        )
    check_mask(student, mask)
    counts = None if mask is None else mask > 0
    ours, its = picked(student, counts), picked(teacher.detach(), counts)
    if projector is not None:
        with exact(ours):
            ours = projector(ours).float()
    if ours.shape != its.shape:
        raise InputError(
            f"feature loss: found the width {ours.shape[-1]} of the student and {its.shape[-1]} of the teacher, "
            "expected the same; give a projector"
        )
    weights = its.new_ones(len(its)) if mask is None or counts is None else mask[counts].float()
    return ours, its, weights
