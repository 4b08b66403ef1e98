"""Narrower attention heads: each head turned so that its first rows say most, and then cut behind them.

What a head computes depends on the product of its queries and keys, and on that of its output and values alone. Within
these products it may be turned freely, until rotary positions bind pairs of rows to frequencies.
Source: our own; the best approximation of a product of given rank is Eckart & Young 1936, weighted by the inputs as in
Hsu et al. 2022, arXiv:2207.00112.
"""

from __future__ import annotations

import torch

from edgekd.student import StudentSpec
from edgekd.students.weights import Roles, Weights

# Added to a second moment, relative to its mean eigenvalue: directions that were never seen stay invertible.
_RIDGE = 1e-6


def turn_heads(
    weights: Weights, roles: Roles, teacher: StudentSpec, layer: int, inputs: torch.Tensor, mixed: torch.Tensor
) -> None:
    """Replace the heads of `layer` in `weights` by ones that compute the same and lose least when they are cut.

    For families without rotary positions. Shapes: `inputs` [hidden + 1, hidden + 1], E[(x, 1)(x, 1)ᵀ] of what the
    attention reads; `mixed` [heads, head_dim, head_dim], E[a aᵀ] of what each head hands on.
    """
    place, size = f"{roles.layers}.{layer}.", teacher.head_dim
    names = {part: f"{place}{getattr(roles, part)}" for part in ("queries", "keys", "values", "mixed")}
    parts = {part: _with_bias(weights, name) for part, name in names.items() if part != "mixed"}
    output = weights[f"{names['mixed']}.weight"].double().cpu().clone()
    root = _root(inputs)
    for head in range(teacher.heads):
        rows = slice(head * size, (head + 1) * size)
        of_queries, of_keys = _balanced(parts["queries"][rows] @ root, parts["keys"][rows] @ root)
        parts["queries"][rows] = of_queries @ parts["queries"][rows]
        parts["keys"][rows] = of_keys @ parts["keys"][rows]
        seen = _root(mixed[head])
        left, values, right = torch.linalg.svd(output[:, rows] @ seen, full_matrices=False)
        spread = values.clamp(min=values.max() * 1e-9).clamp(min=1e-30).sqrt()
        output[:, rows] = left * (values / spread)
        parts["values"][rows] = spread[:, None] * (right @ torch.linalg.inv(seen)) @ parts["values"][rows]
    for part, joined in parts.items():
        _put(weights, names[part], joined)
    old = weights[f"{names['mixed']}.weight"]
    weights[f"{names['mixed']}.weight"] = output.to(old)


def scale_queries(weights: Weights, roles: Roles, layer: int, factor: float) -> None:
    """Multiply the queries of `layer` in `weights`: scores are divided by the root of head_dim, which has changed."""
    for kind in ("weight", "bias"):
        name = f"{roles.layers}.{layer}.{roles.queries}.{kind}"
        if name in weights:
            weights[name] = weights[name] * factor


def _balanced(queries: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two square matrices for the rows of `queries` and `keys`: the product stays, its largest parts come first.

    Shapes: both [head_dim, width], the matrices [head_dim, head_dim].
    """
    _, of_queries = torch.linalg.qr(queries.t())
    _, of_keys = torch.linalg.qr(keys.t())
    left, values, right = torch.linalg.svd(of_queries @ of_keys.t())
    spread = values.sqrt()[:, None]
    return spread * (left.t() @ _inverse(of_queries).t()), spread * (right @ _inverse(of_keys).t())


def _inverse(triangle: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.linalg.pinv(triangle, rtol=1e-12)
    return found


def _root(moment: torch.Tensor) -> torch.Tensor:
    """The symmetric root of a second moment, made invertible."""
    ridge = _RIDGE * moment.diagonal().mean().clamp(min=1e-30)
    values, vectors = torch.linalg.eigh((moment + moment.t()) / 2 + ridge * torch.eye(len(moment), dtype=moment.dtype))
    root: torch.Tensor = (vectors * values.clamp(min=ridge).sqrt()) @ vectors.t()
    return root


def _with_bias(weights: Weights, name: str) -> torch.Tensor:
    matrix = weights[f"{name}.weight"].double().cpu()
    bias = weights.get(f"{name}.bias")
    column = torch.zeros(len(matrix), 1, dtype=torch.float64) if bias is None else bias.double().cpu()[:, None]
    return torch.cat([matrix, column], dim=1)


def _put(weights: Weights, name: str, joined: torch.Tensor) -> None:
    old = weights[f"{name}.weight"]
    weights[f"{name}.weight"] = joined[:, :-1].to(old)
    if f"{name}.bias" in weights:
        weights[f"{name}.bias"] = joined[:, -1].to(old)
