from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import ExportError
from edgekd.export.trace import POOL, Export, Pair, learned_skeleton
from edgekd.student import StudentSpec

SMALL = StudentSpec(architecture="bert", layers=3, hidden=12, heads=2, ffn=29, vocabulary=97, positions=42)
LARGE = replace(SMALL, layers=5, hidden=18, heads=3, kv_heads=3, ffn=43)


def export(spec: StudentSpec, seed: int = 0) -> Export:
    """A made-up exported model: a lookup, per layer a product with a cut in two, and a head."""
    draw = np.random.default_rng(seed)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["/embed/Gather_output_0"], "/embed/Gather")]
    weights = {"table": draw.normal(size=(97, spec.hidden)), "head": draw.normal(size=(spec.hidden, 3))}
    source = "/embed/Gather_output_0"
    for layer in range(spec.layers):
        scope = f"/layer.{layer}"
        weights[f"layer.{layer}.weight"] = draw.normal(size=(spec.hidden, spec.ffn + spec.hidden - spec.ffn))
        nodes += [
            helper.make_node("MatMul", [source, f"layer.{layer}.weight"], [f"{scope}/MatMul_output_0"], f"{scope}/MatMul"),
            helper.make_node("Constant", [], [f"{scope}/c_output_0"], f"{scope}/c", value=sizes_of(spec.hidden, spec.heads)),
            helper.make_node("Split", [f"{scope}/MatMul_output_0", f"{scope}/c_output_0"], [f"{scope}/Split_output_0", f"{scope}/Split_output_1"], f"{scope}/Split", axis=-1),
            helper.make_node("LayerNorm", [f"{scope}/MatMul_output_0"], [f"{scope}/out"], f"{scope}/LayerNorm", width=spec.ffn, both=[spec.heads, 7], epsilon=1e-5),
        ]  # fmt: skip
        source = f"{scope}/out"
    nodes.append(helper.make_node("MatMul", [source, "head"], ["logits"], "/head/MatMul"))
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", spec.hidden])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    return Export(spec, helper.make_model(helper.make_graph(nodes, "g", [ids], [logits], tensors)))


def sizes_of(hidden: int, heads: int) -> Any:
    return numpy_helper.from_array(np.array([hidden - heads if heads == 0 else hidden, heads], dtype=np.int64))


def graph_of(spec: StudentSpec) -> Any:
    return learned_skeleton(Pair(export(SMALL), export(LARGE))).filled(spec, seed=0)[0].graph


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_graph_of_another_student_is_the_one_that_would_be_exported(layers: int) -> None:
    spec = replace(SMALL, layers=layers, hidden=30, heads=5, kv_heads=5, ffn=64)
    found, expected = graph_of(spec), export(spec).proto.graph
    assert [node.SerializeToString() for node in found.node] == [node.SerializeToString() for node in expected.node]
    assert found.input == expected.input
    assert found.output == expected.output
    shapes = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in found.initializer}
    assert shapes == {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in expected.initializer}


def test_weights_keep_a_sample_of_their_values_and_constant_ones_keep_all() -> None:
    first, second = export(SMALL), export(LARGE, seed=1)
    fixed = np.arange(60, dtype=np.float32)
    for one in (first, second):
        one.proto.graph.node[0].input.append("fixed")
        one.proto.graph.initializer.append(numpy_helper.from_array(fixed, "fixed"))
    skeleton = learned_skeleton(Pair(first, second))
    table, kept = skeleton.nodes.before[0].weights[0], skeleton.nodes.before[0].weights[2]
    assert len(table.pool) == min(POOL, 97 * LARGE.hidden)
    assert np.frombuffer(kept.fixed or b"", np.float32).tolist() == fixed.tolist()


def unknown_attribute(proto: Any) -> None:
    next(node for node in proto.graph.node if node.op_type == "LayerNorm").attribute[0].i = 31


def other_float(proto: Any) -> None:
    for node in proto.graph.node:
        for found in node.attribute:
            if found.name == "epsilon":
                found.f = 1e-6


def other_type(proto: Any) -> None:
    weight = proto.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))


def other_rank(proto: Any) -> None:
    proto.graph.initializer[0].dims.append(1)


def unread(proto: Any) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "spare"))


def whole_numbers(proto: Any) -> None:
    weight = proto.graph.initializer[0]
    values = np.random.default_rng(len(proto.graph.node)).integers(0, 9, tuple(weight.dims))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def weight_that_is_none(proto: Any) -> None:
    proto.graph.node[-1].input[1] = "ids"
    del proto.graph.initializer[1]


def nested(proto: Any) -> None:
    inner = helper.make_graph([], "inner", [], [])
    for node in proto.graph.node:
        if node.op_type == "Split":
            node.attribute.append(helper.make_attribute("body", inner))


def other_version(proto: Any) -> None:
    proto.producer_version = "9"


BOTH, SECOND = (0, 1), (1,)


@pytest.mark.parametrize(
    ("change", "graphs", "message"),
    [
        (unknown_attribute, SECOND, r"node '/layer.0/LayerNorm'.* other numbers in another layer"),
        (other_float, SECOND, "attribute epsilon: has a value that differs from student to student"),
        (other_type, SECOND, "the weight 'table' has another type or rank"),
        (other_rank, SECOND, "another type or rank"),
        (unread, BOTH, "no node reads the weight 'spare'"),
        (whole_numbers, BOTH, "the weight 'table' holds whole numbers that differ"),
        (weight_that_is_none, SECOND, "does not follow|differ by more than layers"),
        (nested, BOTH, "attribute body: has a value that differs"),
        (other_version, SECOND, "differ in version"),
    ],
)
def test_what_does_not_follow_from_dimensions_and_layers_is_refused(
    change: Callable[[Any], None], graphs: tuple[int, ...], message: str
) -> None:
    pair = Pair(export(SMALL), export(LARGE, seed=1))
    for graph in graphs:
        change(pair[graph].proto)
    with pytest.raises(ExportError, match=message):
        learned_skeleton(pair)
