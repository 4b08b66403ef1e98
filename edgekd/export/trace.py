"""From two exports of small students to the skeleton behind both: see edgekd/export/skeleton.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from edgekd.errors import ExportError, MissingExtra
from edgekd.export.dimensions import dimensions, number
from edgekd.export.libraries import library
from edgekd.export.repeat import Item, Seen, item, layout, pattern
from edgekd.export.skeleton import Form, Forms, Skeleton, Slot, Weight
from edgekd.student import StudentSpec
from edgekd.text import printable

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "numpy", "export") from None

# Values kept of each weight, repeated to fill a large one. Our choice: a prime, so that rows of a matrix differ, and so
# few that zlib finds them again within its window of 32 KiB, also where three matrices were put side by side. Then an
# untrained student is sent to a board in no time.
POOL = 1021

Place = tuple[int, int, int]
"""Of the same item in another layer or graph: which graph, which repeated block of it, which index."""


class Export(NamedTuple):
    """A student and its exported graph."""

    spec: StudentSpec
    proto: Any


class Pair(NamedTuple):
    """Two exports of students of one family, in which every dimension differs."""

    first: Export
    second: Export

    @property
    def tables(self) -> tuple[dict[str, int], dict[str, int]]:
        """The dimensions of both."""
        return dimensions(self.first.spec), dimensions(self.second.spec)

    @property
    def layers(self) -> tuple[int, int]:
        """The layers of both."""
        return self.first.spec.layers, self.second.spec.layers


def learned_skeleton(pair: Pair) -> Skeleton:
    """The graph behind two exports: equal but for numbers that follow from the dimensions, and for the layers.

    The second has more layers than the first, or as many; then the skeleton fits that number of layers only.
    Errors: ExportError when the two differ in any other way.
    """
    heads = [_head(export.proto) for export in pair]
    if heads[0] != heads[1]:
        raise ExportError("two exports differ in version, producer or name of the graph. Export each student instead")
    for export in pair:
        read = {name for node in export.proto.graph.node for name in node.input}
        for tensor in export.proto.graph.initializer:
            if tensor.name not in read:
                raise ExportError(f"no node reads the weight {printable(tensor.name, 80)!r}")
    return Skeleton(heads[0], _nodes(pair), _values(pair, "input"), _values(pair, "output"))


def _head(proto: Any) -> Any:
    head = type(proto)()
    head.CopyFrom(proto)
    for name in ("node", "initializer", "input", "output", "value_info"):
        head.graph.ClearField(name)
    return head


def _forms(pair: Pair, items: tuple[Sequence[Item], Sequence[Item]], form: Any) -> Forms:
    """`form` makes one from the names' patterns and the places of equal items."""
    found = layout(items[0], items[1], pair.layers)
    parts: dict[str, list[Form]] = {"before": [], "block": [], "after": []}
    for part, places in found.places():
        rows = [(block, pair.layers[graph], items[graph][index].names) for graph, block, index in places]
        patterns = tuple(
            pattern([Seen(block, layers, names[position]) for block, layers, names in rows])
            for position in range(len(rows[0][2]))
        )
        parts[part].append(form(patterns, places))
    return Forms(parts["before"], parts["block"], parts["after"], pair.layers[1] - found.blocks[1])


def _values(pair: Pair, kind: str) -> Forms:
    """The inputs or the outputs of the graph."""
    values = [list(getattr(export.proto.graph, kind)) for export in pair]
    sizes = [[list(value.type.tensor_type.shape.dim) for value in row] for row in values]

    def form(patterns: Any, places: Sequence[Place]) -> Form:
        base = _copy(values[1][places[-1][2]])
        where = f"the {kind} {printable(base.name, 80)!r}"
        rows = [tuple(dim.dim_value for dim in sizes[graph][index]) for graph, _, index in places]
        slots = [
            Slot(0, axis, name)
            for axis, (small, large) in enumerate(zip(*_first_of_each(rows, places, where), strict=True))
            if isinstance(name := number(small, large, pair.tables, where), str)
        ]
        base.ClearField("name")
        return Form(base, patterns, tuple(slots))

    items = tuple([item([value.name], *_value_kind(value)) for value in row] for row in values)
    return _forms(pair, (items[0], items[1]), form)


def _value_kind(value: Any) -> tuple[Any, ...]:
    kind = value.type.tensor_type
    return kind.elem_type, tuple(dim.dim_param for dim in kind.shape.dim)


def _nodes(pair: Pair) -> Forms:
    nodes = [list(export.proto.graph.node) for export in pair]
    tensors = [{tensor.name: tensor for tensor in export.proto.graph.initializer} for export in pair]

    def form(patterns: Any, places: Sequence[Place]) -> Form:
        seen = [nodes[graph][index] for graph, _, index in places]
        where = f"the node {printable(seen[0].name, 120)!r}"
        one, other = _first_of_each([list(node.attribute) for node in seen], places, where)
        base = _copy(seen[-1])
        base.ClearField("name")
        base.input[:] = [""] * len(base.input)
        base.output[:] = [""] * len(base.output)
        slots = [
            slot for at, items in enumerate(zip(one, other, strict=True)) for slot in _slots(at, items, pair, where)
        ]
        return Form(base, patterns, tuple(slots), _weights(seen, places, tensors, pair))

    items = tuple([_node_item(node) for node in row] for row in nodes)
    return _forms(pair, (items[0], items[1]), form)


def _node_item(node: Any) -> Item:
    attributes = tuple((found.name, found.type) for found in node.attribute)
    names = (*node.input, *node.output, node.name)
    return item(names, node.op_type, node.domain, attributes, len(node.input), len(node.output))


def _first_of_each(rows: Sequence[Any], places: Sequence[Place], where: str) -> tuple[Any, Any]:
    """What stands in the first graph and in the second; it must be the same in all layers of each."""
    found: dict[int, Any] = {}
    for row, (graph, _, _) in zip(rows, places, strict=True):
        if found.setdefault(graph, row) != row:
            raise ExportError(f"{where} has other numbers in another layer. Export each student instead")
    return found[0], found[1]


def _slots(position: int, items: tuple[Any, Any], pair: Pair, where: str) -> list[Slot]:
    """The numbers of an attribute that follow from the dimensions."""
    one, other = items
    if one == other and one.type not in (one.GRAPH, one.GRAPHS):
        return []
    where = f"{where}, attribute {one.name}"
    if one.type == one.INT:
        rows = [(-1, one.i, other.i)]
    elif one.type == one.INTS and len(one.ints) == len(other.ints):
        rows = [(at, *sizes) for at, sizes in enumerate(zip(one.ints, other.ints, strict=True))]
    elif one.type == one.TENSOR and _is_integer(one.t, other.t):
        to_array = library("onnx.numpy_helper").to_array
        pairs = zip(to_array(one.t).reshape(-1).tolist(), to_array(other.t).reshape(-1).tolist(), strict=True)
        rows = [(at, *sizes) for at, sizes in enumerate(pairs)]
    else:
        raise ExportError(f"{where}: has a value that differs from student to student. Export each student instead")
    found = [(at, number(small, large, pair.tables, where)) for at, small, large in rows]
    return [Slot(position, at, name) for at, name in found if isinstance(name, str)]


def _is_integer(one: Any, other: Any) -> bool:
    """Whether two tensors hold whole numbers in the same shape."""
    return one.data_type == other.data_type == one.INT64 and one.dims == other.dims and bool(one.raw_data)


def _weights(seen: Sequence[Any], places: Sequence[Place], tensors: Sequence[Any], pair: Pair) -> dict[int, Weight]:
    """The weights that a node reads, by input."""
    found = {}
    for position in range(len(seen[0].input)):
        read = [tensors[place[0]].get(node.input[position]) for node, place in zip(seen, places, strict=True)]
        if all(tensor is None for tensor in read):
            continue
        where = f"the weight {printable(seen[0].input[position], 80)!r}"
        if any(tensor is None for tensor in read):
            raise ExportError(f"{where} is none in another layer or student. Export each student instead")
        rows = [(tensor.data_type, tuple(tensor.dims)) for tensor in read]
        one, other = _first_of_each(rows, places, where)
        if one[0] != other[0] or len(one[1]) != len(other[1]):
            raise ExportError(f"{where} has another type or rank in another student. Export each student instead")
        second = next(tensor for tensor, place in zip(read, places, strict=True) if place[0] == 1)
        found[position] = _weight((read[0], second), pair, where)
    return found


def _weight(tensors: tuple[Any, Any], pair: Pair, where: str) -> Weight:
    one, other = tensors
    dims = tuple(number(small, large, pair.tables, where) for small, large in zip(one.dims, other.dims, strict=True))
    values = [library("onnx.numpy_helper").to_array(tensor) for tensor in tensors]
    if np.array_equal(*values):
        return Weight(dims, one.data_type, values[0].reshape(-1)[:0], values[0].tobytes())
    if other.data_type not in (other.FLOAT, other.INT8, other.UINT8):
        raise ExportError(f"{where} holds whole numbers that differ from student to student. Export each instead")
    flat = values[1].reshape(-1)
    if flat.size > POOL:
        flat = np.random.default_rng(0).choice(flat, POOL, replace=False, shuffle=False)
    return Weight(dims, other.data_type, flat)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
