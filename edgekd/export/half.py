"""fp16: every weight and every operator in half precision, inputs and logits as they were.

A runtime without half-precision kernels for an operator computes it in fp32 between two casts, so on most processors
this saves room in the file and no time; benchmarks/graph_variants.py compares. Magnitudes above 65504 are cut to that,
which the constants of attention masks survive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.errors import ExportError
from edgekd.export.check import ModelDescription, check_model_file, description, parsed_model
from edgekd.export.libraries import library
from edgekd.export.onnx import checked_bytes, strip
from edgekd.files import write_bytes
from edgekd.text import printable


def convert_half(source: Path, target: Path) -> ModelDescription:
    """Write the fp32 ONNX file `source` to `target` in fp16; what the file takes and gives, which is fp32 as before.

    Equal sources give equal bytes.
    Errors: ExportError when `source` is no fp32 model or cannot be converted; InputError, SecurityError for a bad one.
    """
    if check_model_file(source):
        raise ExportError(f"{source}: keeps its weights in other files, expected them inside. Export it again")
    proto = half(parsed_model(source), str(source))
    write_bytes(target, checked_bytes(proto, target))
    return description(proto)


def half(proto: Any, name: str) -> Any:
    """The fp32 model `proto` in fp16; `name` is what an error calls it. Errors: ExportError."""
    onnx = library("onnx")
    converter = library("onnxruntime.transformers.float16")
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    if onnx.TensorProto.FLOAT not in kinds or kinds & {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}:
        raise ExportError(f"{name}: has no fp32 weights alone, so there is nothing to convert to fp16")
    try:
        found = converter.convert_float_to_float16(proto, keep_io_types=True, force_fp16_initializers=True)
    except (
        ValueError,
        RuntimeError,
        TypeError,
        KeyError,
        AssertionError,
        onnx.shape_inference.InferenceError,
    ) as error:
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
        raise ExportError(f"{name}: cannot be converted to fp16 ({reason})") from error
    # The converter puts the casts of inputs behind all other nodes.
    library("onnxruntime.transformers.onnx_model").OnnxModel.graph_topological_sort(found.graph)
    strip(found)
    del found.metadata_props[:]
    return found
