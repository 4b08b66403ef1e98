"""Relations between tokens as attention sees them: what a student of another width can share with its teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from edgekd.distill.losses.rows import Normaliser, divided, exact
from edgekd.errors import InputError

States = Sequence[torch.Tensor]


def relation_loss(
    student: States,
    teacher: States,
    heads: int,
    normaliser: Normaliser = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher ‖ student) of the relations among queries, among keys and among values, a mean over the three.

    The heads are joined and cut again into `heads` relation heads; the relations of one are softmax(X Xᵀ / √width). So
    widths and numbers of heads may differ, if only `heads` divides them all. A mean over the relation heads, a sum over
    the tokens. `mask` says which tokens count, or by what weight; the others are neither asked nor looked at, and the
    normaliser is their number, or the sum of weights. Computed in float32; no gradient reaches the teacher.

    Shapes: student and teacher are queries, keys and values, each [batch, heads, tokens, width of a head], keys and
    values of fewer heads where these are shared; mask [batch, tokens].
    Errors: InputError for other shapes, or `heads` that do not divide a width.
    Source: Wang et al. 2021, MiniLMv2, arXiv:2012.15828.
    """
    shapes = {(len(state), state.shape[-2]) for state in (*student, *teacher) if state.ndim == 4}
    if len(student) != len(teacher) or len(shapes) != 1 or any(state.ndim != 4 for state in (*student, *teacher)):
        found = [[tuple(state.shape) for state in states] for states in (student, teacher)]
        raise InputError(
            f"relations: found states {found[0]} of the student and {found[1]} of the teacher, expected queries, keys "
            "and values of both, [batch, heads, tokens, width] with the same batch and tokens"
        )
    batch, tokens = shapes.pop()
    if mask is not None and mask.shape != (batch, tokens):
        raise InputError(f"relations: found a mask {tuple(mask.shape)}, expected {(batch, tokens)}, one for each token")
    weights = student[0].new_ones(batch, tokens, dtype=torch.float32) if mask is None else mask.float()
    total = sum(_difference(ours, its, heads, weights) for ours, its in zip(student, teacher, strict=True))
    return divided(torch.as_tensor(total) / len(student), weights.sum(), normaliser)


def _difference(student: torch.Tensor, teacher: torch.Tensor, heads: int, weights: torch.Tensor) -> torch.Tensor:
    ours, its = _relations(student, heads, weights), _relations(teacher.detach(), heads, weights)
    by_token = functional.kl_div(ours, its, reduction="none", log_target=True).sum(dim=-1).mean(dim=1)
    return (by_token * weights).sum()


def _relations(states: torch.Tensor, heads: int, weights: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [batch, heads, tokens, tokens] of how each token relates to those that count."""
    joined = states.float().transpose(1, 2).flatten(2).masked_fill(weights[:, :, None] <= 0, 0)
    if heads < 1 or joined.shape[-1] % heads:
        raise InputError(
            f"relations: found {heads} relation heads for states of width {joined.shape[-1]}, expected a number that "
            "divides the widths of student and teacher"
        )
    cut = joined.reshape(*joined.shape[:2], heads, -1).transpose(1, 2)
    with exact(cut):
        scores = cut @ cut.transpose(-1, -2) / math.sqrt(cut.shape[-1])
    # The lowest finite number and not minus infinity: of a row that is all padding there would be nothing but NaN.
    return functional.log_softmax(scores.masked_fill(weights[:, None, None, :] <= 0, torch.finfo(scores.dtype).min), -1)
