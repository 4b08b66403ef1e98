"""Which layers, channels, heads and neurons of its teacher a student keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from edgekd.errors import SpecError
from edgekd.student import StudentSpec
from edgekd.students.importance import Importance
from edgekd.students.weights import Roles, Weights, axes_of, layer_of


@dataclass(frozen=True, slots=True)
class Kept:
    """What a student keeps: of the teacher's layers, of its channels, and in each kept layer of heads and neurons.

    `heads`, `kv_heads` and `neurons` hold a list for each layer of the student. `head_rows` are the rows of every head.
    """

    layer_map: list[int]
    channels: list[int]
    heads: list[list[int]]
    kv_heads: list[list[int]]
    neurons: list[list[int]]
    head_rows: list[int]


@dataclass(frozen=True, slots=True)
class Scores:
    """What parts of a teacher are worth: more is better.

    Shapes: `channels` [hidden], `heads` [layers, heads], `neurons` [layers, ffn].
    """

    channels: torch.Tensor
    heads: torch.Tensor
    neurons: torch.Tensor


def even_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher's layer that each student layer copies: evenly spaced, the first always, the last when two or more.

    Errors: SpecError when the student has no layers or more than the teacher.
    """
    _check_layers(teacher_layers, student_layers)
    gaps = max(student_layers - 1, 1)
    # Halves round down: of six layers three keep 0, 2, 5.
    return [-((gaps - 2 * index * (teacher_layers - 1)) // (2 * gaps)) for index in range(student_layers)]


def first_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """The lowest layers. Errors: SpecError as even_layers. Source: Sajjad et al. 2020, arXiv:2004.03844."""
    _check_layers(teacher_layers, student_layers)
    return list(range(student_layers))


def influential_layers(influence: Sequence[float], student_layers: int) -> list[int]:
    """The layers that change the residual stream most, the first always. Errors: SpecError as even_layers."""
    _check_layers(len(influence), student_layers)
    others = sorted(range(1, len(influence)), key=lambda layer: -influence[layer])[: student_layers - 1]
    return [0, *sorted(others)]


def checked_layers(layers: Sequence[int], teacher_layers: int, student_layers: int) -> list[int]:
    """`layers` as a map of a student. Errors: SpecError when they do not ascend, are not the teacher's, or lack 0.

    The first layer has learnt to read the embeddings: without it a student starts worse than from any other choice.
    """
    found = list(layers)
    if len(found) != student_layers or found != sorted(set(found)) or found[0] != 0 or found[-1] >= teacher_layers:
        raise SpecError(
            f"found the layers {found}, expected {student_layers} of 0 to {teacher_layers - 1} that ascend from 0"
        )
    return found


def spaced(total: int, kept: int) -> list[int]:
    """`kept` of `total` indices in even strides, from 0; all of them when the two are equal."""
    return [index * total // kept for index in range(kept)]


def best(scores: torch.Tensor, kept: int) -> list[int]:
    """The indices of the `kept` highest of `scores`, in their order; of equal ones the first. Shapes: [total]."""
    order = torch.sort(scores, descending=True, stable=True).indices[:kept]
    return sorted(order.tolist())


def keep_evenly(student: StudentSpec, teacher: StudentSpec, layers: Sequence[int]) -> Kept:
    """Even strides of channels, heads and neurons. Source: Xu et al. 2024, arXiv:2311.18823."""

    def even(_layer: int, total: int, kept: int) -> list[int]:
        return spaced(total, kept)

    groups = spaced(teacher.kv_heads, student.kv_heads)
    size = teacher.heads // teacher.kv_heads
    within = spaced(size, student.heads // student.kv_heads)
    heads = [group * size + head for group in groups for head in within]
    return _kept(student, teacher, layers, spaced(teacher.hidden, student.hidden), lambda _layer: (heads, groups), even)


def keep_best(student: StudentSpec, teacher: StudentSpec, layers: Sequence[int], scores: Scores) -> Kept:
    """The channels, heads and neurons with the highest scores, heads and neurons for each layer apart.

    Where query heads share key heads, as many stay in every group: all groups with their best heads, or the best
    groups where there are to be fewer.
    """

    def heads_of(layer: int) -> tuple[list[int], list[int]]:
        size, within = teacher.heads // teacher.kv_heads, student.heads // student.kv_heads
        by_group = scores.heads[layer].reshape(teacher.kv_heads, size)
        picked = [best(row, within) for row in by_group]
        worth = torch.stack([row[inside].sum() for row, inside in zip(by_group, picked, strict=True)])
        groups = best(worth, student.kv_heads)
        return [group * size + head for group in groups for head in picked[group]], groups

    def neurons_of(layer: int, _total: int, kept: int) -> list[int]:
        return best(scores.neurons[layer], kept)

    return _kept(student, teacher, layers, best(scores.channels, student.hidden), heads_of, neurons_of)


def scores_of_importance(importance: Importance, layers: Sequence[int], *, post_norm: bool) -> Scores:
    """Scores from activations; channels by all norms at which the kept `layers` read the stream, each counted alike."""
    ends = [0] if post_norm else [len(importance.channels) - 1]
    first = 1 if post_norm else 0
    norms = [*ends, *(first + 2 * layer + part for layer in layers for part in (0, 1))]
    seen = importance.channels[norms]
    total = (seen / seen.mean(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)).sum(dim=0)
    return Scores(total, importance.heads, importance.neurons)


def scores_of_magnitude(weights: Weights, teacher: StudentSpec, roles: Roles, layers: Sequence[int]) -> Scores:
    """Scores from the weights alone: what reads times what writes. Source: Han et al. 2015, arXiv:1506.02626.

    A head counts by its values and its output, a neuron by its inputs and its output; a channel by all weights of the
    kept `layers` and the tables that touch it, each of them counted alike.
    """
    heads = torch.zeros(teacher.layers, teacher.heads, dtype=torch.float64)
    neurons = torch.zeros(teacher.layers, teacher.ffn, dtype=torch.float64)
    for layer in range(teacher.layers):
        place = f"{roles.layers}.{layer}."
        values = weights[f"{place}{roles.values}.weight"].double().cpu()
        by_group = values.reshape(teacher.kv_heads, -1).norm(dim=1)
        written = weights[f"{place}{roles.mixed}.weight"].double().cpu()
        by_head = written.reshape(teacher.hidden, teacher.heads, teacher.head_dim).pow(2).sum(dim=(0, 2)).sqrt()
        heads[layer] = by_head * by_group.repeat_interleave(teacher.heads // teacher.kv_heads)
        ups = torch.stack([weights[f"{place}{up}.weight"].double().cpu().norm(dim=1) for up in roles.ups])
        neurons[layer] = ups.prod(dim=0) * weights[f"{place}{roles.down}.weight"].double().cpu().norm(dim=0)
    return Scores(_channel_magnitudes(weights, teacher, layers), heads, neurons)


def _channel_magnitudes(weights: Weights, teacher: StudentSpec, layers: Sequence[int]) -> torch.Tensor:
    total = torch.zeros(teacher.hidden, dtype=torch.float64)
    for name, weight in weights.items():
        layer = layer_of(name)
        if weight.dim() < 2 or (layer is not None and layer not in layers):
            continue
        for dimension, axis in enumerate(axes_of(name, teacher.architecture, weight.dim())):
            if axis == "channels":
                square = weight.double().cpu().transpose(0, dimension).flatten(1).pow(2).sum(dim=1)
                total += square / square.mean().clamp(min=torch.finfo(torch.float64).tiny)
    return total


def _kept(
    student: StudentSpec,
    teacher: StudentSpec,
    layers: Sequence[int],
    channels: list[int],
    heads_of: Callable[[int], tuple[list[int], list[int]]],
    neurons_of: Callable[[int, int, int], list[int]],
) -> Kept:
    by_layer = [heads_of(layer) for layer in layers]
    return Kept(
        layer_map=list(layers),
        channels=channels,
        heads=[heads for heads, _groups in by_layer],
        kv_heads=[groups for _heads, groups in by_layer],
        neurons=[neurons_of(layer, teacher.ffn, student.ffn) for layer in layers],
        head_rows=spaced(teacher.head_dim, student.head_dim),
    )


def _check_layers(teacher_layers: int, student_layers: int) -> None:
    if not 1 <= student_layers <= teacher_layers:
        raise SpecError(f"a student of {student_layers} layers, expected 1 to {teacher_layers}, as many as its teacher")
