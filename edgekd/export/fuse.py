"""The fused variant of a graph: attention, norms and activations as one operator each, joined before the board sees it.

onnxruntime joins some operators itself whenever it opens a file; its offline tool knows more patterns. Fewer operators
start faster and may multiply slower, so which graph wins depends on student and board: measure both.
benchmarks/graph_variants.py compares. Source: ONNX Runtime documentation, Transformers Model Optimization Tool.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import ExportError
from edgekd.export.check import ModelDescription, check_model_file, description, parsed_model
from edgekd.export.libraries import library
from edgekd.export.onnx import checked_bytes, strip
from edgekd.export.quantize import eight_bits
from edgekd.files import write_bytes
from edgekd.text import printable

_PATTERNS = "bert"  # the tool's name for its general set of patterns
_DOMAIN = "com.microsoft"


def fuse(source: Path, target: Path) -> ModelDescription:
    """Write the fp32 ONNX file `source` to `target` with fused operators; what the file takes and gives.

    Equal sources give equal bytes.
    Errors: ExportError when there is nothing to fuse or it fails; InputError, SecurityError for a bad `source`.
    """
    return _written(fused(_parsed(source), str(source)), target)


def fuse_and_quantize(source: Path, target: Path) -> ModelDescription:
    """The same with int8 matrix products, those inside fused attention included."""
    return _written(fused_eight_bits(_parsed(source), str(source)), target)


def fused_eight_bits(proto: Any, name: str) -> Any:
    """What fuse_and_quantize makes of the fp32 model `proto`. Errors: ExportError."""
    return eight_bits(fused(proto, name), name)


def fused(proto: Any, name: str) -> Any:
    """The fp32 model `proto` with fused operators; `name` is what an error calls it. Errors: ExportError."""
    optimizer = library("onnxruntime.transformers.optimizer")
    options = library("onnxruntime.transformers.fusion_options").FusionOptions(_PATTERNS)
    # The exporter writes norms as one operator; RMS norms would become one that is not in ONNX.
    options.enable_layer_norm = False
    hidden, heads = _attention(proto)
    try:
        with _quiet():
            found = optimizer.optimize_model(
                proto, model_type=_PATTERNS, num_heads=heads, hidden_size=hidden, opt_level=0,
                optimization_options=options,
            ).model  # fmt: skip
    except (ValueError, RuntimeError, TypeError, KeyError, AssertionError, IndexError) as error:
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
        raise ExportError(f"{name}: its operators cannot be fused ({reason})") from error
    if not any(node.domain == _DOMAIN for node in found.graph.node):
        raise ExportError(f"{name}: has no operators that could be fused. Take the fused variants out of precisions")
    if not any(item.domain == _DOMAIN for item in found.opset_import):
        found.opset_import.append(library("onnx.helper").make_opsetid(_DOMAIN, 1))
    strip(found)
    del found.metadata_props[:]
    return found


def _parsed(source: Path) -> Any:
    if check_model_file(source):
        raise ExportError(f"{source}: keeps its weights in other files, expected them inside. Export it again")
    return parsed_model(source)


def _written(proto: Any, target: Path) -> ModelDescription:
    write_bytes(target, checked_bytes(proto, target))
    return description(proto)


def _attention(proto: Any) -> tuple[int, int]:
    """Width of the residual stream and number of heads; 0 and 0 where the graph does not tell.

    The norms are as wide as the stream, and what is reshaped to (..., all heads, head_dim) ends in head_dim.
    """
    to_array = library("onnx.numpy_helper").to_array
    sizes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    constants = {
        node.output[0]: to_array(item.t).reshape(-1).tolist()
        for node in proto.graph.node
        for item in node.attribute
        if node.op_type == "Constant" and item.name == "value"
    }
    made = {node.output[0]: node for node in proto.graph.node if node.op_type == "Concat"}
    norms = [node.input[1] for node in proto.graph.node if node.op_type == "LayerNormalization"]
    widths = {sizes[name][0] for name in norms if len(sizes.get(name, [])) == 1}
    ends = set()
    for node in proto.graph.node:
        shape = made.get(node.input[1]) if node.op_type == "Reshape" else None
        parts = [constants.get(name, []) for name in shape.input] if shape else []
        last_but_one, last = parts[-2:] if len(parts) > 1 else ([], [])
        if last_but_one == [-1] and len(last) == 1 and last[0] > 0:
            ends.add(last[0])
    if len(widths) != 1 or len(ends) != 1 or next(iter(widths)) % next(iter(ends)):
        return 0, 0
    width, head_dim = widths.pop(), ends.pop()
    return width, width // head_dim


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tool warns of every pattern that it does not find, through loggers of many names."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
