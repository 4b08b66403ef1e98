from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from edgekd.errors import ExportError
from edgekd.export.repeat import Item, Seen, item, layout, pattern, renumber


def graph(layers: int, *, first: int = 0) -> list[Item]:
    """Names as an exporter makes them; the first layer has `first` items more."""
    names = [("/embed/Gather", "Constant_12")]
    for layer in range(layers):
        names += [(f"/layer.{layer}/extra.{count}", "") for count in range(first if layer == 0 else 0)]
        names += [
            (f"/layer.{layer}/Add", f"Constant_{20 + 7 * layer}"),
            (f"/layer.{layer}/Mul_1", f"/layer.{layer}/Add"),
        ]
    return [item(row) for row in [*names, ("/head/Gemm", f"/layer.{layers - 1}/Mul_1")]]


def test_pattern_follows_the_layer_and_the_number_of_layers() -> None:
    seen = [
        Seen(block, layers, f"onnx::Add_{3 + 7 * block + 2 * layers}") for layers in (3, 5) for block in range(layers)
    ]
    assert pattern(seen).text(11, 24) == f"onnx::Add_{3 + 77 + 48}"
    short = [one for one in seen if one.layers == 5 or one.block == 0]
    assert pattern(short) == pattern(seen)
    assert pattern([Seen(0, 3, "/a.1/b"), Seen(0, 5, "/a.1/b")]).text(9, 9) == "/a.1/b"


def test_pattern_of_uneven_names_is_refused() -> None:
    with pytest.raises(
        ExportError, match=r"'/l\.5/x' does not follow from those of other layers \(expected '/l\.2/x'\)"
    ):
        pattern([Seen(0, 2, "/l.0/x"), Seen(0, 5, "/l.0/x"), Seen(1, 5, "/l.1/x"), Seen(2, 5, "/l.5/x")])


@pytest.mark.parametrize("first", [0, 1, 2])
def test_layout_finds_the_block_and_leaves_out_a_first_layer_of_its_own(first: int) -> None:
    short, long = graph(3, first=first), graph(5, first=first)
    found = layout(short, long, (3, 5))
    assert found.period == 2
    assert found.blocks == (3, 5)
    covered = sorted(place[1:] for part, places in found.places() for place in places)
    assert len(covered) == len(short) + len(long)
    parts = [part for part, _ in found.places()]
    assert (parts.count("block"), parts[-1]) == (2, "after")


def test_layout_starts_after_a_layer_that_is_numbered_otherwise() -> None:
    short, long = ([*graph(count)] for count in (3, 5))
    for items in (short, long):
        items[2] = item(("/layer.0/Mul_3", "/layer.0/Add"))  # in the others Mul_1
    found = layout(short, long, (3, 5))
    assert (found.start, found.blocks) == (3, (2, 4))


def test_layout_of_equally_many_layers_has_no_block() -> None:
    found = layout(graph(2), graph(2), (2, 2))
    assert [part for part, _ in found.places()] == ["before"] * len(graph(2))


def test_graphs_that_do_not_grow_with_their_layers_are_refused() -> None:
    with pytest.raises(ExportError, match="no even growth"):
        layout(graph(3), [*graph(5), item(("/more/Add", ""))], (3, 5))
    with pytest.raises(ExportError, match="differ by more than layers"):
        layout(graph(3), [*graph(5)[:-1], item(("/head/Tanh", "/layer.4/Mul_1"))], (3, 5))
    uneven = [item((f"/{letter}/Add",)) for letter in "abcdefghijk"]
    with pytest.raises(ExportError, match="do not repeat"):
        layout(uneven[:7], uneven, (3, 5))


def test_renumber_counts_by_place_and_keeps_what_belongs_together() -> None:
    nodes = [
        helper.make_node("Constant", [], ["onnx::Add_77"], "Constant_77", value_int=1),
        helper.make_node("Add", ["x", "onnx::Add_77"], ["/layer.0/Add_5"], "/layer.0/Add_5"),
        helper.make_node("Mul", ["/layer.0/Add_5", "onnx::Mul_912_scale"], ["y"], "logits"),
        helper.make_node("Mul", ["onnx::Mul_912_scale", "onnx::Mul_912_zero_point"], ["z"], "other"),
    ]
    weights = [
        helper.make_tensor(f"onnx::Mul_912_{end}", TensorProto.FLOAT, [1], [1.0]) for end in ("scale", "zero_point")
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", [], [], weights))
    renumber(proto)
    first, second, third, fourth = proto.graph.node
    assert list(second.input) == ["x", *first.output]
    assert list(second.output) == ["/layer.0/Add_5"]
    assert list(fourth.input) == [tensor.name for tensor in proto.graph.initializer]
    assert third.input[1] == fourth.input[0]
    assert first.output[0] == "onnx::Add_0"
    assert (first.name, third.name) == ("Constant_1", "logits")
    assert third.input[1] == "onnx::Mul_4_scale"
