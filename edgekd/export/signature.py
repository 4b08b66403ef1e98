"""What an ONNX graph is, whatever its tensors are called and whatever its weights are worth.

Two files with equal signatures take the same time: same operators in the same order, joined in the same way, over
tensors of the same shapes and types, with the same constants.
"""

from __future__ import annotations

from typing import Any

from edgekd.export.libraries import library
from edgekd.files import sha256_of_bytes

Signature = list[tuple[Any, ...]]


def graph_signature(proto: Any) -> Signature:
    """One line for the model, each input, each node in order, each weight in order of first use, and each output.

    Values carry a number in place of their name, by the position where they are made. Weights count with shape and
    type; those of integers that are no quantised weights (int8, uint8) also with their values.
    Shapes: inputs and outputs keep the names of free dimensions.
    """
    places: dict[str, str] = {value.name: f"input {index}" for index, value in enumerate(proto.graph.input)}
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    lines: Signature = [_model_line(proto), *(("input", *_type_line(value)) for value in proto.graph.input)]
    used: Signature = []
    for index, node in enumerate(proto.graph.node):
        for name in node.input:
            if name in weights and name not in places:
                places[name] = f"weight {len(used)}"
                used.append(_weight_line(weights[name]))
        lines.append(_node_line(node, [places.get(name, f"unknown {name!r}") if name else "" for name in node.input]))
        places.update({name: f"node {index} output {at}" for at, name in enumerate(node.output) if name})
    unused = sorted(_weight_line(tensor) for name, tensor in weights.items() if name not in places)
    outputs = [("output", *_type_line(value), places.get(value.name, "unknown")) for value in proto.graph.output]
    return [*lines, *used, *(("unused", *line) for line in unused), *outputs]


def first_difference(found: Signature, expected: Signature) -> str:
    """Where two signatures part, in words; empty when they are equal."""
    for index, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"line {index} is {one}, expected {other}"
    if len(found) != len(expected):
        return f"{len(found)} lines, expected {len(expected)}"
    return ""


def _model_line(proto: Any) -> tuple[Any, ...]:
    opsets = sorted((item.domain, item.version) for item in proto.opset_import)
    return ("model", proto.ir_version, proto.producer_name, opsets, len(proto.functions))


def _type_line(value: Any) -> tuple[Any, ...]:
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
    return (value.name, kind.elem_type, dims)


def _node_line(node: Any, inputs: list[str]) -> tuple[Any, ...]:
    attributes = sorted(_attribute_line(item) for item in node.attribute)
    return ("node", node.op_type, node.domain, attributes, inputs, len(node.output))


def _attribute_line(item: Any) -> tuple[str, str]:
    plain = type(item)()
    plain.CopyFrom(item)
    plain.doc_string = ""
    if plain.HasField("t"):
        plain.t.ClearField("name")
    text = " ".join(str(plain).split())
    return item.name, text if len(text) < 300 else sha256_of_bytes(text.encode())


def _weight_line(tensor: Any) -> tuple[Any, ...]:
    onnx = library("onnx")
    counted = tensor.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
    values = sha256_of_bytes(onnx.numpy_helper.to_array(tensor).tobytes()) if counted else ""
    return ("weight", tensor.data_type, list(tensor.dims), values)
