from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekd.errors import ExportError
from edgekd.export.repeat import Pattern
from edgekd.export.skeleton import Form, Forms, Skeleton, Slot, Weight
from edgekd.export.wire import model_bytes
from edgekd.student import StudentSpec

SPEC = StudentSpec(architecture="bert", layers=3, hidden=20, heads=4, ffn=33, vocabulary=97, positions=42)


def fixed(name: str) -> Pattern:
    return Pattern((name,), ())


def layered(before: str, after: str, start: int = 0) -> Pattern:
    return Pattern((before, after), ((start, 1, 0),))


def node(operator: str, inputs: int, **attributes: Any) -> NodeProto:
    found: NodeProto = helper.make_node(operator, [""] * inputs, [""], **attributes)
    return found


def skeleton(*, reads: str = "x", slots: tuple[Slot, ...] = ()) -> Skeleton:
    """A product at first, then a sum in each layer, then an output."""
    pool = np.array([0.5, -0.25, 0.125], dtype=np.float32)
    wide = Weight(("hidden", 7), TensorProto.FLOAT, pool)
    bias = Weight((2,), TensorProto.FLOAT, pool[:0], np.array([1.5, 2.5], np.float32).tobytes())
    before = Form(node("MatMul", 2), (fixed(reads), fixed("wide"), fixed("l.0"), fixed("first")), (), {1: wide})
    block = Form(
        node("Add", 2, axis=1, both=[3, 1], value=numpy_helper.from_array(np.zeros((1, 2), np.int64))),
        (layered("l.", ""), layered("b.", ""), layered("l.", "", 1), layered("add.", "")),
        slots,
        {1: bias},
    )
    # The last layer is one after that of the last block.
    after = Form(node("Neg", 1), (Pattern(("l.", ""), ((0, 0, 1),)), fixed("y"), fixed("last")))
    values = [Form(helper.make_tensor_value_info("", TensorProto.FLOAT, ["batch", 0]), (fixed(name),)) for name in "xy"]
    head = ModelProto(ir_version=8, producer_name="test")
    sized = Form(values[0].base, values[0].names, (Slot(0, 1, "hidden"),))
    inputs, outputs = (Forms([form], [], [], 0) for form in (sized, values[1]))
    return Skeleton(head, Forms([before], [block], [after], 0), inputs, outputs)


def graph_of(skeleton: Skeleton, spec: StudentSpec = SPEC, seed: int = 0) -> Any:
    return ModelProto.FromString(model_bytes(*skeleton.filled(spec, seed))).graph


@pytest.mark.parametrize("layers", [1, 3])
def test_block_stands_once_per_layer_and_each_reads_the_one_before(layers: int) -> None:
    spec = StudentSpec(architecture="bert", layers=layers, hidden=20, heads=4, ffn=33, vocabulary=97, positions=42)
    graph = graph_of(skeleton(), spec)
    assert [found.name for found in graph.node] == ["first", *(f"add.{index}" for index in range(layers)), "last"]
    assert [found.input[0] for found in graph.node] == ["x", *(f"l.{index}" for index in range(layers + 1))]
    assert [found.output[0] for found in graph.node] == [*(f"l.{index}" for index in range(layers + 1)), "y"]
    assert [tensor.name for tensor in graph.initializer] == ["wide", *(f"b.{index}" for index in range(layers))]


def test_weights_are_filled_from_their_values_or_kept() -> None:
    graph = graph_of(skeleton(), seed=4)
    wide, bias = (numpy_helper.to_array(tensor) for tensor in graph.initializer[:2])
    assert wide.shape == (20, 7)
    assert sorted(set(wide.reshape(-1).tolist())) == [-0.25, 0.125, 0.5]
    assert bias.tolist() == [1.5, 2.5]
    again = graph_of(skeleton(), seed=4).initializer[0]
    assert again == graph.initializer[0]


def test_dimensions_are_filled_into_attributes_and_inputs() -> None:
    attributes = {found.name: index for index, found in enumerate(skeleton().nodes.block[0].base.attribute)}
    slots = (
        Slot(attributes["axis"], -1, "ffn"),
        Slot(attributes["both"], 1, "hidden"),
        Slot(attributes["value"], 1, "heads"),
    )
    graph = graph_of(skeleton(slots=slots))
    for found in graph.node[1:-1]:
        values = {item.name: helper.get_attribute_value(item) for item in found.attribute}
        assert (values["axis"], values["both"]) == (33, [3, 20])
        assert numpy_helper.to_array(values["value"]).tolist() == [[0, 4]]
    assert graph.input[0].type.tensor_type.shape.dim[1].dim_value == 20
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_node_that_reads_what_nothing_makes_is_refused() -> None:
    with pytest.raises(ExportError, match="nothing makes 'z', which the node 'first' reads"):
        skeleton(reads="z").filled(SPEC, seed=0)


def test_value_that_is_made_twice_or_an_output_that_is_not_made_is_refused() -> None:
    twice = skeleton()
    twice.nodes.before.append(twice.nodes.before[0])
    with pytest.raises(ExportError, match=r"the node 'first' makes 'l\.0', which is there already"):
        twice.filled(SPEC, seed=0)
    without = skeleton()
    del without.nodes.after[:]
    with pytest.raises(ExportError, match="nothing makes the output 'y' in a graph of 3 layers"):
        without.filled(SPEC, seed=0)


def test_fewer_layers_than_the_ones_of_their_own_are_refused() -> None:
    forms = Forms([], skeleton().nodes.block, [], 4)
    with pytest.raises(ExportError, match="expected at least 4"):
        list(forms.expanded(3))
