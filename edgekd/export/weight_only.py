"""int4: weights of matrix products in 4 bits, a scale for every 32, quantised by rounding, nothing to calibrate.

Blocks of 32 keep an outlier from spoiling a whole channel. Weights are symmetric around zero: no zero points to store.
The kernels may quantise what they read to 8 bits (`accuracy_level` 4), for only then does a processor multiply whole
numbers; benchmarks/graph_variants.py compares answers, size and speed. Embedding tables stay fp32.
Source: ONNX Runtime documentation, Contrib Operators, MatMulNBits; onnxruntime 1.17 and later run it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgekd.cost.count import BLOCK
from edgekd.errors import ExportError
from edgekd.export.check import ModelDescription, check_model_file, description, parsed_model
from edgekd.export.libraries import library
from edgekd.export.onnx import checked_bytes, strip
from edgekd.files import write_bytes
from edgekd.text import printable

ACCURACY_LEVEL = 4  # of the operator: what it reads may be quantised to int8


def quantize_weights(source: Path, target: Path) -> ModelDescription:
    """Write the fp32 ONNX file `source` to `target` with matrices in 4 bits; what the file takes and gives.

    Equal sources give equal bytes.
    Errors: ExportError when there is nothing to quantise or it fails; InputError, SecurityError for a bad `source`.
    """
    if check_model_file(source):
        raise ExportError(f"{source}: keeps its weights in other files, expected them inside. Export it again")
    proto = four_bits(parsed_model(source), str(source))
    write_bytes(target, checked_bytes(proto, target))
    return description(proto)


def four_bits(proto: Any, name: str) -> Any:
    """The fp32 model `proto` with matrices in 4 bits; `name` is what an error calls it. Errors: ExportError."""
    _plain_products(proto)
    constant = {tensor.name for tensor in proto.graph.initializer}
    if not any(node.op_type == "MatMul" and node.input[1] in constant for node in proto.graph.node):
        raise ExportError(f"{name}: no matrix product has constant fp32 weights, so there is nothing to quantise")
    quantizer = _library()
    try:
        found = quantizer.MatMulNBitsQuantizer(
            proto, bits=4, block_size=BLOCK, is_symmetric=True, accuracy_level=ACCURACY_LEVEL
        )
        found.process()
    except (ValueError, RuntimeError, TypeError, KeyError, AssertionError) as error:
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
        raise ExportError(f"{name}: cannot be quantised to 4 bits ({reason})") from error
    quantised = found.model.model
    strip(quantised)
    del quantised.metadata_props[:]
    return quantised


def _library() -> Any:
    # On import it gives the root logger a handler, unless that has one.
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        found = library("onnxruntime.quantization.matmul_nbits_quantizer")
        found.logger.setLevel(logging.WARNING)
    finally:
        root.removeHandler(silent)
    return found


def _plain_products(proto: Any) -> None:
    """Write every Gemm with constant weights as MatMul and Add, for the operator of 4 bits is a MatMul."""
    onnx = library("onnx")
    graph, nodes = proto.graph, []
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        if node.op_type != "Gemm" or node.input[1] not in weights or not plain:
            nodes.append(node)
            continue
        matrix = node.input[1]
        if given.get("transB", 0):
            matrix = f"{node.input[1]}_transposed"
            if matrix not in weights:
                values = onnx.numpy_helper.to_array(weights[node.input[1]]).T.copy()
                weights[matrix] = onnx.numpy_helper.from_array(values, matrix)
                graph.initializer.append(weights[matrix])
        biased = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}_product" if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], matrix], [product], name=f"{node.name}_MatMul"))
        if biased:
            nodes.append(
                onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_Add")
            )
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
