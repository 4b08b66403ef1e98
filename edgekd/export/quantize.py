"""Dynamic int8: weights of matrix products in 8 bits, activations quantised while the model runs, nothing to calibrate.

Weights are signed, one scale per output channel, in 7 of the 8 bits (`per_channel`, `reduce_range`). Why: an x86
processor without VNNI adds two products of 8 bits in 16 and clips, so full-range weights give another answer there than
here. With 7 bits the sum always fits: accuracy measured on one machine holds on the other. A scale per channel makes up
for much of the lost bit, and costs a scale and a zero point per channel, which `edgekd.cost.count` counts.
benchmarks/graph_variants.py compares answers, size and speed of the variants.
Source: ONNX Runtime documentation, Quantize ONNX Models, on when and why to try U8U8 and reduce_range.

onnxruntime's pre-processing (`quant_pre_process`) is left out: the shapes it adds let the runtime fuse the graph in
another way (see strip in edgekd/export/onnx.py).
Embedding tables stay fp32: only MatMul, Gemm and, in a fused graph, the projections inside Attention are quantised.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import ExportError
from edgekd.export.check import ModelDescription, check_model_file, description, parsed_model
from edgekd.export.libraries import library
from edgekd.export.onnx import checked_bytes
from edgekd.files import write_bytes, write_error
from edgekd.text import printable

_PRODUCTS = ["MatMul", "Gemm", "Attention"]
_ADVICE = "Please consider to run pre-processing before quantization"


def quantize_dynamic(source: Path, target: Path) -> ModelDescription:
    """Write the fp32 ONNX file `source` to `target` with int8 matrix products; what the file takes and gives.

    Equal sources give equal bytes. Activations are scaled over the whole batch they are in, padding included: measure
    accuracy in batches as on the device.

    Errors: ExportError when there is nothing to quantise or it fails; InputError, SecurityError for a bad `source`.
    """
    if check_model_file(source):
        raise ExportError(f"{source}: keeps its weights in other files, expected them inside. Export it again")
    proto = eight_bits(parsed_model(source), str(source))
    write_bytes(target, checked_bytes(proto, target))
    return description(proto)


def eight_bits(proto: Any, source: str) -> Any:
    """The fp32 model `proto` with int8 matrix products; `source` is what an error calls it. Errors: ExportError."""
    found = _quantized(_float_model(proto, source), source)
    del found.metadata_props[:]
    return found


def _float_model(proto: Any, source: str) -> Any:
    kinds = {node.op_type for node in proto.graph.node}
    if kinds & {"MatMulInteger", "QLinearMatMul", "DequantizeLinear"}:
        raise ExportError(f"{source}: is quantised already, expected an fp32 model")
    if not kinds & set(_PRODUCTS):
        raise ExportError(f"{source}: has no matrix product (MatMul, Gemm), so there is nothing to quantise")
    return proto


def _quantized(proto: Any, source: str) -> Any:
    onnx = library("onnx")
    quantization = library("onnxruntime.quantization")
    try:
        # onnxruntime only writes to files; this one lives outside the user's folders and is gone afterwards.
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder, _without_advice():
            written = Path(folder) / "int8.onnx"
            quantization.quantize_dynamic(
                proto,
                written,
                op_types_to_quantize=_PRODUCTS,
                per_channel=True,
                reduce_range=True,
                weight_type=quantization.QuantType.QInt8,
                # Types behind operators that are none of ONNX cannot be inferred.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            quantized = onnx.ModelProto()
            quantized.ParseFromString(written.read_bytes())
    except (ValueError, RuntimeError, TypeError, KeyError, onnx.shape_inference.InferenceError) as error:
        reason = printable(str(error).strip().splitlines()[0] if str(error).strip() else repr(error), 300)
        raise ExportError(f"{source}: cannot be quantised ({reason})") from error
    except OSError as error:
        raise write_error(Path(tempfile.gettempdir()), error) from None
    if not any(node.op_type in ("MatMulInteger", "QAttention") for node in quantized.graph.node):
        raise ExportError(f"{source}: no matrix product has constant weights, so there is nothing to quantise")
    return quantized


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """onnxruntime's advice to pre-process, given through the root logger, is answered in this module's docstring."""
    root = logging.getLogger()
    # A root logger without a handler would be given one, for good, by the first message.
    silent = logging.NullHandler()

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_ADVICE)

    root.addHandler(silent)
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
        root.removeHandler(silent)
