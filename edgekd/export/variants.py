"""An fp32 file in another precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgekd.errors import ExportError
from edgekd.export.check import ModelDescription
from edgekd.export.fuse import fuse, fuse_and_quantize
from edgekd.export.half import convert_half
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.weight_only import quantize_weights

MADE_BY: dict[str, Callable[[Path, Path], ModelDescription]] = {
    "fp16": convert_half,
    "int8": quantize_dynamic,
    "int4": quantize_weights,
    "fp32-fused": fuse,
    "int8-fused": fuse_and_quantize,
}


def write_variant(source: Path, target: Path, precision: str) -> ModelDescription:
    """Write the fp32 ONNX file `source` to `target` in `precision`; what the file takes and gives.

    Errors: ExportError for a precision that is none of MADE_BY; else as the function there.
    """
    if precision not in MADE_BY:
        raise ExportError(f"{target}: found the precision {precision!r}, expected one of {', '.join(MADE_BY)}")
    return MADE_BY[precision](source, target)
