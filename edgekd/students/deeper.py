"""A student with all the layers of its teacher, taken apart: the student itself, and the layers it will do without.

For edgekd.distill.scaffold. The deep student is begun as any other, so that all of it has one choice of channels or
directions, and norms that fit: before the first step the two together compute what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from edgekd.errors import SpecError
from edgekd.student import StudentSpec
from edgekd.students.choose import checked_layers
from edgekd.students.initialise import Initialisation
from edgekd.students.weights import in_layer, layer_of, module_at, read_weights, roles_of, spec_of, write_weights


def deeper(spec: StudentSpec, teacher: StudentSpec) -> StudentSpec:
    """A student of `spec` with as many layers as `teacher`."""
    return replace(spec, layers=teacher.layers)


def taken_apart(student: PreTrainedModel, deep: Any, layers: Sequence[int]) -> list[list[nn.Module]]:
    """Give `student` the weights of the `layers` of `deep`, and everything around them; the other layers of `deep`.

    Behind each layer of the student those that stand behind it in `deep`. They are the modules of `deep` itself, which
    is of no further use.
    Errors: SpecError for layers that do not ascend from 0, or a `deep` that differs in more than its layers.
    """
    own, its = spec_of(student), spec_of(deep)
    if replace(own, layers=its.layers) != its:
        raise SpecError(f"found the students {own.name} and {its.name}, expected two that differ in their layers alone")
    chosen = checked_layers(layers, its.layers, own.layers)
    weights = read_weights(deep)
    taken = {}
    for name in read_weights(student, with_tied=False):
        layer = layer_of(name)
        taken[name] = weights[name if layer is None else in_layer(name, chosen[layer])]
    write_weights(student, taken)
    stack = module_at(deep, roles_of(deep).layers)
    ends = [*chosen[1:], its.layers]
    return [[stack[index] for index in range(layer + 1, end)] for layer, end in zip(chosen, ends, strict=True)]


def of_layers(begun: Initialisation, layers: Sequence[int], copied: int) -> Initialisation:
    """What is said of a deep student that was `begun`, for the `layers` that are kept, which have `copied` weights."""

    def kept(lists: list[list[int]]) -> list[list[int]]:
        return [lists[layer] for layer in layers]

    return replace(
        begun, layer_map=list(layers), copied_parameters=copied, heads=kept(begun.heads), neurons=kept(begun.neurons),
        kv_heads=kept(begun.kv_heads),
    )  # fmt: skip
