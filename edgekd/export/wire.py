"""An ONNX file put together from a graph and the values of its weights, without a second and third copy of them.

Serialising a model copies all weights several times, which takes longer than everything else about an untrained
student. The parts are joined here as protobuf would join them.
Source: Protocol Buffers documentation, Encoding (keys, variable-length numbers, length-prefixed fields).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LENGTH_PREFIXED = 2


def model_bytes(model: Any, values: Sequence[bytes]) -> bytes:
    """The file of the ModelProto `model` with `values`, one for each of its weights in order, which have none so far.

    `model` loses its weights.
    """
    graph = model.graph
    fields = type(graph).DESCRIPTOR.fields_by_name
    raw = type(graph.initializer.add()).DESCRIPTOR.fields_by_name["raw_data"].number
    del graph.initializer[-1]
    weights: list[bytes] = []
    for tensor, value in zip(graph.initializer, values, strict=True):
        start = tensor.SerializeToString(deterministic=True) + _prefix(raw, len(value))
        weights += (_prefix(fields["initializer"].number, len(start) + len(value)), start, value)
    del graph.initializer[:]
    rest = graph.SerializeToString(deterministic=True)
    number = type(model).DESCRIPTOR.fields_by_name["graph"].number
    model.ClearField("graph")
    head = model.SerializeToString(deterministic=True)
    size_bytes = len(rest) + sum(map(len, weights))
    return b"".join([head, _prefix(number, size_bytes), rest, *weights])


def _prefix(field: int, length: int) -> bytes:
    return _number(field << 3 | _LENGTH_PREFIXED) + _number(length)


def _number(value: int) -> bytes:
    """Seven bits to a byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
