from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekd.export.wire import model_bytes


def model(sizes: list[int]) -> tuple[Any, Any, list[bytes]]:
    """A model with a weight of each size, the same without their values, and these."""
    weights = [numpy_helper.from_array(np.arange(size, dtype=np.float32), f"w{size}") for size in sizes]
    node = helper.make_node("Identity", ["x"], ["y"], "n" * 300)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy"]
    whole = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], weights), producer_name="test")
    bare = ModelProto()
    bare.CopyFrom(whole)
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")
    return whole, bare, [tensor.raw_data for tensor in weights]


@pytest.mark.parametrize("sizes", [[], [1], [31, 32, 33], [1, 5000, 600_000]])
def test_bytes_are_read_back_as_the_whole_model_and_are_as_many(sizes: list[int]) -> None:
    whole, bare, values = model(sizes)
    data = model_bytes(bare, values)
    assert ModelProto.FromString(data) == whole
    assert len(data) == len(whole.SerializeToString())


def test_one_value_belongs_to_each_weight() -> None:
    _, bare, values = model([3, 4])
    with pytest.raises(ValueError, match="shorter"):
        model_bytes(bare, values[:1])
