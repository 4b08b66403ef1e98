from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from edgekd.errors import ExportError
from edgekd.export.order import sort_as_quantised, unsort
from edgekd.export.quantize import quantize_dynamic


@pytest.fixture
def quantised(bert_file: Path, tmp_path: Path) -> Any:
    quantize_dynamic(bert_file, tmp_path / "int8.onnx")
    return onnx.load(tmp_path / "int8.onnx")


def test_unsorted_graph_follows_the_fp32_one_and_sorting_brings_back_the_file(quantised: Any, bert_file: Path) -> None:
    before = [node.SerializeToString() for node in quantised.graph.node]
    plain = onnx.load(bert_file)
    names = {node.name for node in quantised.graph.node}
    kept = [node.name for node in plain.graph.node if node.name in names]
    assert len(kept) > 100
    assert [node.name for node in quantised.graph.node if node.name in kept] != kept
    unsort(quantised, plain)
    assert [node.name for node in quantised.graph.node if node.name in kept] == kept
    assert sorted(node.SerializeToString() for node in quantised.graph.node) == sorted(before)
    sort_as_quantised(quantised)
    assert [node.SerializeToString() for node in quantised.graph.node] == before


def test_graph_in_another_order_is_refused(quantised: Any, bert_file: Path) -> None:
    nodes = [type(node).FromString(node.SerializeToString()) for node in quantised.graph.node]
    nodes[0], nodes[1] = nodes[1], nodes[0]
    del quantised.graph.node[:]
    quantised.graph.node.extend(nodes)
    with pytest.raises(ExportError, match="not in the order"):
        unsort(quantised, onnx.load(bert_file))


def test_node_that_nothing_needs_is_not_lost_silently(quantised: Any, bert_file: Path) -> None:
    quantised.graph.node.append(helper.make_node("Identity", ["logits"], ["unused"], "spare"))
    with pytest.raises(ExportError, match="not in the order"):
        unsort(quantised, onnx.load(bert_file))
