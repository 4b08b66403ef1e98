"""A narrower residual stream by principal directions instead of a choice of channels, for pre-norm models.

Where norms lie beside the residual stream, their gains can be folded into what reads them. Then any rotation of the
stream leaves the function as it was, and a student may keep the directions along which most happens. A layer norm also
subtracts the mean, so its student gets directions without one.
Source: Ashkboos et al. 2024, SliceGPT, arXiv:2401.15024 (folding and rotating; here one rotation for all layers, which
a plain checkpoint can hold).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgekd.errors import SpecError
from edgekd.students.importance import Importance
from edgekd.students.weights import Roles, Weights

_HEADS = ("lm_head", "score", "classifier")


def fold_norms(weights: Weights, roles: Roles, layers: int, *, tied: bool) -> Weights:
    """`weights` that compute the same with all gains 1 and all biases 0 in the norms of the `layers`.

    The last norm is folded into the head, but its bias where the head has none. A `tied` head reads the embeddings and
    leaves the last norm as it is.
    Errors: SpecError for a post-norm model, whose norms lie on the residual stream.
    """
    if roles.last_norm is None:
        raise SpecError("rotation: found a model whose norms lie on the residual stream; choose importance or uniform")
    folded = dict(weights)
    for layer in range(layers):
        place = f"{roles.layers}.{layer}."
        before, after = (place + norm for norm in roles.norms)
        for part in (roles.queries, roles.keys, roles.values):
            _fold(folded, before, place + part)
        for part in roles.ups:
            _fold(folded, after, place + part)
        for norm in (before, after):
            _clear(folded, norm)
    head = head_of(weights)
    if not tied and head is not None:
        _fold(folded, roles.last_norm, head)
        folded[f"{roles.last_norm}.weight"] = torch.ones_like(weights[f"{roles.last_norm}.weight"])
        if f"{head}.bias" in weights:
            _clear(folded, roles.last_norm)
    return folded


def head_of(weights: Weights) -> str | None:
    """The name of the layer that gives the logits, if the model has one."""
    return next((name for name in _HEADS if f"{name}.weight" in weights), None)


def principal_directions(moment: torch.Tensor, kept: int, *, without_mean: bool) -> tuple[torch.Tensor, float]:
    """`kept` orthonormal directions along which most of `moment` lies, and the share that they hold.

    With `without_mean` all of them are combinations of channels that sum to 0, and so are their own coordinates: one
    direction fewer, then, turned so that the sum of what a vector has in them is 0 too.
    Shapes: `moment` [width, width], the directions [width, kept].
    """
    width = len(moment)
    outside = _without_mean(width) if without_mean else torch.eye(width, dtype=torch.float64)
    inside = outside.t() @ moment.double() @ outside
    values, vectors = torch.linalg.eigh((inside + inside.t()) / 2)
    count = kept - 1 if without_mean else kept
    order = torch.argsort(values, descending=True)[:count]
    directions = outside @ vectors[:, order]
    share = float(values[order].clamp(min=0).sum() / values.clamp(min=0).sum().clamp(min=1e-300))
    return (directions @ _without_mean(kept).t() if without_mean else directions), share


def stream_moment(importance: Importance, layers: Sequence[int]) -> torch.Tensor:
    """E[n nᵀ] of the normalised stream, summed over all norms at which the kept `layers` and the head read it."""
    norms = [*(2 * layer + part for layer in layers for part in (0, 1)), len(importance.moments) - 1]
    return importance.moments[norms].sum(dim=0)[:-1, :-1]


def bias_through(head: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A bias of the last norm, and a head, through which `wanted` is added to the logits.

    `head` comes from a rotation without the mean: a number added to a whole row of it changes no logit, until the bias
    has a mean. What the bias alone cannot say, it says with that number.
    Shapes: `head` [outputs, width], `wanted` [outputs]; the bias [width], the head as it was.
    """
    wide, goal = head.double(), wanted.double()
    bias = torch.linalg.lstsq(wide, goal[:, None], rcond=1e-6, driver="gelsd").solution[:, 0]
    missing = goal - wide @ bias
    if missing.norm() <= 1e-6 * goal.norm():
        return bias, wide
    return bias + 1, wide + missing[:, None] / head.shape[1]


def _without_mean(width: int) -> torch.Tensor:
    """An orthonormal basis of the vectors that sum to 0: Helmert's. Shapes: [width, width - 1]."""
    basis = torch.zeros(width, width - 1, dtype=torch.float64)
    for column in range(1, width):
        scale = (column * (column + 1)) ** -0.5
        basis[:column, column - 1] = scale
        basis[column, column - 1] = -column * scale
    return basis


def _fold(weights: Weights, norm: str, reader: str) -> None:
    gain, bias = weights[f"{norm}.weight"], weights.get(f"{norm}.bias")
    matrix = weights[f"{reader}.weight"]
    if bias is not None and f"{reader}.bias" in weights:
        added = matrix.double() @ bias.double()
        weights[f"{reader}.bias"] = (weights[f"{reader}.bias"].double() + added).to(matrix.dtype)
    weights[f"{reader}.weight"] = (matrix.double() * gain.double()).to(matrix.dtype)


def _clear(weights: Weights, norm: str) -> None:
    weights[f"{norm}.weight"] = torch.ones_like(weights[f"{norm}.weight"])
    if f"{norm}.bias" in weights:
        weights[f"{norm}.bias"] = torch.zeros_like(weights[f"{norm}.bias"])
