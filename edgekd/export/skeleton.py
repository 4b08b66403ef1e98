"""A graph with its dimensions and its number of layers left open, to be filled in for one student after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgekd.errors import ExportError, MissingExtra
from edgekd.export.dimensions import Number, dimensions, filled
from edgekd.export.libraries import library
from edgekd.export.repeat import Pattern
from edgekd.student import StudentSpec

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "numpy", "export") from None

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight: its shape, and values to draw from, or its very bytes when they are equal in every student."""

    dims: tuple[Number, ...]
    dtype: int
    pool: Array
    fixed: bytes | None = None


class Slot(NamedTuple):
    """A number in an attribute: which attribute, which element of it (-1: it is a single number), and what it is."""

    attribute: int
    element: int
    dimension: str


@dataclass(frozen=True, slots=True)
class Form:
    """A node, an input or an output to be filled in. `weights` has the weights that a node reads, by input."""

    base: Any
    names: tuple[Pattern, ...]
    slots: tuple[Slot, ...] = ()
    weights: dict[int, Weight] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forms:
    """What stands before the repeated blocks, in each of them and after them; `extra` layers are no block."""

    before: list[Form]
    block: list[Form]
    after: list[Form]
    extra: int

    def expanded(self, layers: int) -> Iterator[tuple[Form, list[str]]]:
        """Every form of a graph with `layers` layers in order, with its names. Errors: ExportError for too few."""
        if not self.block:
            parts: Iterable[tuple[list[Form], int]] = [(self.before, 0)]
        elif layers < self.extra:
            raise ExportError(f"a graph of {layers} layers has no repeated block, expected at least {self.extra}")
        else:
            blocks = [(self.block, number) for number in range(layers - self.extra)]
            parts = [(self.before, 0), *blocks, (self.after, 0)]
        for forms, block in parts:
            for form in forms:
                yield form, [name.text(block, layers) for name in form.names]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A graph with open dimensions. `head` is the model without its graph's contents."""

    head: Any
    nodes: Forms
    inputs: Forms
    outputs: Forms

    def filled(self, spec: StudentSpec, seed: int) -> tuple[Any, list[bytes]]:
        """The ModelProto of `spec` without the values of its weights, and these values in the order of the weights.

        Errors: ExportError when its graph cannot be put together from what was seen.
        """
        table, layers = dimensions(spec), spec.layers
        model = type(self.head)()
        model.CopyFrom(self.head)
        graph = model.graph
        for forms, values in ((self.inputs, graph.input), (self.outputs, graph.output)):
            for form, (name,) in forms.expanded(layers):
                value = values.add()
                value.CopyFrom(form.base)
                value.name = name
                for slot in form.slots:
                    value.type.tensor_type.shape.dim[slot.element].dim_value = table[slot.dimension]
        known = {value.name for value in graph.input}
        draw = np.random.default_rng(seed)
        contents: list[bytes] = []
        for form, names in self.nodes.expanded(layers):
            _add_node(graph, form, names, table)
            for position, weight in form.weights.items():
                if names[position] not in known:
                    known.add(names[position])
                    contents.append(_add_weight(graph, names[position], weight, table, draw))
            _require_known(graph.node[-1], known)
        lacking = [value.name for value in graph.output if value.name not in known]
        if lacking:
            raise ExportError(f"nothing makes the output {lacking[0]!r} in a graph of {layers} layers")
        return model, contents


def _add_node(graph: Any, form: Form, names: list[str], table: dict[str, int]) -> None:
    node = graph.node.add()
    node.CopyFrom(form.base)
    inputs = len(names) - len(node.output) - 1
    for position in range(inputs):
        node.input[position] = names[position]
    for position in range(len(node.output)):
        node.output[position] = names[inputs + position]
    node.name = names[-1]
    for slot in form.slots:
        _fill(node.attribute[slot.attribute], slot, table)


def _fill(attribute: Any, slot: Slot, table: dict[str, int]) -> None:
    value = table[slot.dimension]
    if slot.element < 0:
        attribute.i = value
    elif attribute.ints:
        attribute.ints[slot.element] = value
    else:
        array = library("onnx.numpy_helper").to_array(attribute.t).copy()
        array.reshape(-1)[slot.element] = value
        attribute.t.raw_data = array.tobytes()


def _add_weight(graph: Any, name: str, weight: Weight, table: dict[str, int], draw: np.random.Generator) -> bytes:
    """Add a weight without values; the values."""
    dims = [filled(size, table) for size in weight.dims]
    tensor = graph.initializer.add()
    tensor.name, tensor.data_type = name, weight.dtype
    tensor.dims.extend(dims)
    if weight.fixed is not None:
        return weight.fixed
    some = draw.permutation(weight.pool).tobytes()
    times, rest = divmod(math.prod(dims) * weight.pool.itemsize, len(some))
    return some * times + some[:rest]


def _require_known(node: Any, known: set[str]) -> None:
    for name in node.input:
        if name and name not in known:
            raise ExportError(f"nothing makes {name!r}, which the node {node.name!r} reads")
    for name in node.output:
        if name in known:
            raise ExportError(f"the node {node.name!r} makes {name!r}, which is there already")
        known.add(name)
