"""The sentinel: one small model, the same bytes for ever, timed beside every other to know how the machine was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.errors import MissingExtra
from edgekd.files import write_bytes

try:
    import numpy as np
    from onnx import ModelProto, TensorProto, helper
except ImportError as error:
    raise MissingExtra(error.name or "onnx", "export") from None

# Six layers of 64 x 192 x 192 are 14 million MACs: well under a millisecond on a laptop core, a few on a small board.
LAYERS, ROWS, WIDTH = 6, 64, 192
IR_VERSION, OPSET = 8, 13
_MASK = np.uint64(2**32 - 1)


def sentinel_model(path: Path) -> Path:
    """The sentinel written to `path`, byte by byte the same everywhere. Errors: as files.write_bytes."""
    write_bytes(path, sentinel_proto().SerializeToString(deterministic=True))
    return path


def sentinel_proto() -> ModelProto:
    """The model: `LAYERS` times MatMul and Relu, then Softmax.

    Shapes: input and output are float32 [1, ROWS, WIDTH].
    """
    shape = [1, ROWS, WIDTH]
    nodes, weights, value = [], [], "input"
    for layer in range(LAYERS):
        weights.append(_weight(f"weight_{layer}", layer))
        nodes.append(helper.make_node("MatMul", [value, f"weight_{layer}"], [f"product_{layer}"]))
        nodes.append(helper.make_node("Relu", [f"product_{layer}"], [f"value_{layer}"]))
        value = f"value_{layer}"
    nodes.append(helper.make_node("Softmax", [value], ["output"], axis=-1))
    graph = helper.make_graph(
        nodes,
        "sentinel",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        initializer=weights,
    )
    return helper.make_model(
        graph, producer_name="edgekd", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )


def _weight(name: str, layer: int) -> Any:
    """Weights from integer arithmetic, since generators of random numbers change between releases."""
    bits = np.arange(WIDTH * WIDTH, dtype=np.uint64) + np.uint64(layer * WIDTH * WIDTH + 1)
    for factor, shift in ((2_654_435_761, 15), (2_246_822_519, 13), (3_266_489_917, 16)):
        bits = (bits * np.uint64(factor)) & _MASK
        bits ^= bits >> np.uint64(shift)
    # Evenly from -0.177 to 0.177, where a layer keeps the variance of its input. Below 2**24, so exact in float32.
    whole = (bits >> np.uint64(18)).astype(np.int64) - 2**13
    values = (whole * 181).astype(np.float32) / np.float32(2**23)
    return helper.make_tensor(name, TensorProto.FLOAT, [WIDTH, WIDTH], values.astype("<f4").tobytes(), raw=True)
