from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import TensorProto, helper

from edgekd.export.signature import first_difference, graph_signature


def model(prefix: str = "", weight: float = 1.0) -> Any:
    """Two sums and a cut, with every name behind `prefix`."""
    nodes = [
        helper.make_node("Add", ["x", f"{prefix}w"], [f"{prefix}a"], f"{prefix}first"),
        helper.make_node("Mul", [f"{prefix}a", "x"], [f"{prefix}b"], f"{prefix}second"),
        helper.make_node("Slice", [f"{prefix}b", f"{prefix}start", f"{prefix}end"], ["y"], f"{prefix}third"),
    ]
    weights = [
        helper.make_tensor(f"{prefix}w", TensorProto.FLOAT, [2], [weight, weight]),
        helper.make_tensor(f"{prefix}start", TensorProto.INT64, [1], [0]),
        helper.make_tensor(f"{prefix}end", TensorProto.INT64, [1], [5]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in "xy"]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], weights))


def test_names_and_values_of_weights_do_not_count() -> None:
    one, other = model(), model("other.", weight=3.5)
    other.graph.initializer.reverse()
    assert graph_signature(one) == graph_signature(other)
    assert first_difference(graph_signature(one), graph_signature(other)) == ""


def swapped(graph: Any) -> None:
    graph.node[1].input[:] = ["x", "a"]


def widened(graph: Any) -> None:
    graph.initializer[0].dims[0] = 3


def cut_elsewhere(graph: Any) -> None:
    graph.initializer[2].int64_data[0] = 4


def halved(graph: Any) -> None:
    graph.initializer[0].data_type = TensorProto.FLOAT16


def other_operator(graph: Any) -> None:
    graph.node[0].op_type = "Sub"


def other_domain(graph: Any) -> None:
    graph.node[0].domain = "com.microsoft"


def other_attribute(graph: Any) -> None:
    graph.node[0].attribute.append(helper.make_attribute("axis", 1))


def other_output(graph: Any) -> None:
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def unread_weight(graph: Any) -> None:
    graph.initializer.add(name="more", data_type=TensorProto.FLOAT)


def one_node_more(graph: Any) -> None:
    graph.node.append(helper.make_node("Neg", ["y"], ["z"]))


@pytest.mark.parametrize(
    "change",
    [
        swapped, widened, cut_elsewhere, halved, other_operator, other_domain, other_attribute, other_output,
        unread_weight, one_node_more,
    ],
)  # fmt: skip
def test_whatever_changes_the_work_changes_the_signature(change: Callable[[Any], None]) -> None:
    changed = model()
    change(changed.graph)
    found, expected = graph_signature(changed), graph_signature(model())
    assert found != expected
    assert first_difference(found, expected)


def test_difference_names_the_line() -> None:
    changed = model()
    changed.graph.node[1].op_type = "Div"
    assert "Div" in first_difference(graph_signature(changed), graph_signature(model()))
    shorter = graph_signature(model())[:-1]
    assert first_difference(shorter, graph_signature(model())) == f"{len(shorter)} lines, expected {len(shorter) + 1}"


def test_attributes_count_by_value_large_ones_too() -> None:
    def constant(last: int) -> Any:
        node = helper.make_node(
            "Constant", [], ["y"], value=helper.make_tensor("", TensorProto.INT64, [400], [*range(399), last])
        )
        return helper.make_model(helper.make_graph([node], "g", [], []))

    assert graph_signature(constant(1)) == graph_signature(constant(1))
    assert graph_signature(constant(1)) != graph_signature(constant(2))
