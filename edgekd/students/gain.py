"""Norms of a cut student, set so that what they hand on is nearest to what the teacher's hand on.

With channels or layers gone the stream of a student has another size and another mean. One norm after the other, from
the bottom, gets the gain and bias that least squares find for each channel on real inputs.
Source: our own; a gain per norm for cut channels is in Muralidharan et al. 2024, arXiv:2407.14679.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from edgekd.students.importance import Batch, evaluating, normalised, read_rows, valid_rows, watching
from edgekd.students.weights import module_at, norm_names, roles_of, spec_of

MOST_TOKENS = 4096  # our choice: of thousands of rows each channel fits two numbers

# From the index of a norm of the teacher, and what it makes of its stream before gain and bias, to what the norm of a
# student should hand on.
Target = Callable[[int, torch.Tensor], torch.Tensor]
Rows = Callable[[torch.Tensor, Batch], torch.Tensor]


def paired_norms(layer_map: Sequence[int], teacher_layers: int, *, post_norm: bool) -> list[int]:
    """For each norm of a student the index of the teacher's whose output it is to match, both in norm_names' order.

    On the residual stream the last norm of a layer stands for all layers left out behind it.
    """
    ends = [*layer_map[1:], teacher_layers]
    if post_norm:
        inside = [index for layer, end in zip(layer_map, ends, strict=True) for index in (1 + 2 * layer, 2 * end)]
        return [0, *inside]
    return [*(index for layer in layer_map for index in (2 * layer, 2 * layer + 1)), 2 * teacher_layers]


def calibrate_norms(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layer_map: Sequence[int],
    batches: Sequence[Batch],
    target: Target,
) -> None:
    """Set gains and biases of the norms of `student` on `batches`, of which the first 4096 tokens count.

    `target` says what a norm of the student should hand on, from what the teacher's makes of its stream.
    """
    used = _first_tokens(batches)
    post_norm = roles_of(teacher).post_norm
    layers = spec_of(teacher).layers
    theirs = norm_names(teacher, layers)
    pairs = paired_norms(layer_map, layers, post_norm=post_norm)
    wanted = _targets(teacher, theirs, set(pairs), used, target)
    for name, index in zip(norm_names(student, len(layer_map)), pairs, strict=True):
        rows = _rows_at(index, theirs, teacher)
        fit_norm(module_at(student, name), _reaching(student, name, used, rows), wanted[index])


def _first_tokens(batches: Sequence[Batch]) -> list[Batch]:
    used, tokens = [], 0
    for batch in batches:
        used.append(batch)
        mask = batch.get("attention_mask")
        first = next(iter(batch.values()))
        tokens += int(mask.sum()) if mask is not None else first.shape[0] * 64  # about the patches of an image
        if tokens >= MOST_TOKENS:
            break
    return used


def _targets(
    teacher: PreTrainedModel, names: Sequence[str], wanted: set[int], batches: Sequence[Batch], target: Target
) -> dict[int, torch.Tensor]:
    found: dict[int, list[torch.Tensor]] = {index: [] for index in wanted}
    for batch in batches:
        hooks = {
            names[index]: _keeper(index, batch, target, found[index], _rows_at(index, names, teacher))
            for index in wanted
        }
        with watching(teacher, hooks), evaluating(teacher):
            teacher(**batch)
    return {index: torch.cat(parts) for index, parts in found.items()}


def _rows_at(index: int, names: Sequence[str], teacher: PreTrainedModel) -> Rows:
    """Which tokens count at a norm: all, but at the last one those that the head reads."""
    if index < len(names) - 1:
        return valid_rows
    spec = spec_of(teacher)
    return lambda values, batch: read_rows(values, batch, spec)


def _keeper(index: int, batch: Batch, target: Target, kept: list[torch.Tensor], rows: Rows) -> Callable[..., None]:
    def hook(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.append(target(index, rows(normalised(norm, inputs[0]), batch).double().cpu()))

    return hook


class _Reached(Exception):
    """The norm that was asked for has been reached: what follows is not needed."""


def _reaching(model: PreTrainedModel, name: str, batches: Sequence[Batch], rows: Rows) -> torch.Tensor:
    """What the norm `name` makes of its stream before gain and bias. Shapes: [tokens, hidden]."""
    parts: list[torch.Tensor] = []
    for batch in batches:

        def hook(norm: torch.nn.Module, inputs: tuple[torch.Tensor, ...], batch: Batch = batch) -> None:
            parts.append(rows(normalised(norm, inputs[0]), batch).double().cpu())
            raise _Reached

        with watching(model, {name: hook}), evaluating(model):
            try:
                model(**batch)
            except _Reached:
                continue
    return torch.cat(parts)


def fit_norm(norm: torch.nn.Module, plain: torch.Tensor, wanted: torch.Tensor) -> None:
    """Set gain and bias of `norm` by least squares for each channel; without a bias through the origin.

    Shapes: `plain`, the stream before gain and bias, and `wanted` [tokens, hidden].
    """
    bias = getattr(norm, "bias", None)
    mean, goal = (plain.mean(0), wanted.mean(0)) if bias is not None else (0.0, 0.0)
    spread = (plain - mean).pow(2).mean(0)
    common = ((plain - mean) * (wanted - goal)).mean(0)
    moves = spread > 1e-12
    gain = torch.where(moves, common / spread.clamp(min=1e-12), torch.zeros_like(spread))
    with torch.no_grad():
        weight = norm.weight
        weight.copy_(gain)  # type: ignore[operator]
        if bias is not None:
            bias.copy_(goal - gain * mean)
