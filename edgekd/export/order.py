"""The order of nodes in a quantised graph.

onnxruntime's quantiser writes each product's new nodes in its place and then sorts the whole graph by distance from
its inputs, which mixes the layers. Layers are told apart in the order before sorting.
"""

from __future__ import annotations

from typing import Any

from edgekd.errors import ExportError
from edgekd.export.libraries import library


def sort_as_quantised(proto: Any) -> None:
    """Put the nodes of `proto` in the order in which onnxruntime's quantiser leaves them."""
    library("onnxruntime.quantization.onnx_model").ONNXModel(proto).topological_sort()


def unsort(quantised: Any, plain: Any) -> None:
    """Put the nodes of `quantised` in the order of the fp32 graph `plain` that it was made from.

    Errors: ExportError when sorting them again does not give what was there.
    """
    graph = quantised.graph
    before = [node.name for node in graph.node]
    nodes = [type(node).FromString(node.SerializeToString()) for node in graph.node]
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    placed: dict[int, None] = {}
    for node in plain.graph.node:
        # The quantiser keeps the name of what a node makes, and puts whatever is new before it.
        for name in node.output:
            if name in makers:
                _place(makers[name], nodes, makers, placed)
    _replace(graph, [nodes[index] for index in placed])
    sort_as_quantised(quantised)
    if [node.name for node in graph.node] != before:
        raise ExportError(
            "the quantised graph is not in the order of onnxruntime's sorting. Export each student instead"
        )
    _replace(graph, [nodes[index] for index in placed])


def _place(index: int, nodes: list[Any], makers: dict[str, int], placed: dict[int, None]) -> None:
    """Place a node after what it reads."""
    stack = [(index, iter(nodes[index].input))]
    while stack:
        current, inputs = stack[-1]
        following = next((makers[name] for name in inputs if name in makers and makers[name] not in placed), None)
        if following is None:
            stack.pop()
            placed.setdefault(current)
        else:
            stack.append((following, iter(nodes[following].input)))


def _replace(graph: Any, nodes: list[Any]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
