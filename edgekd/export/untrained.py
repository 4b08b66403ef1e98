"""Untrained models whose weights repeat, so that their files compress to almost nothing and run as fast as ever.

Nobody asks what such a model answers, only how long that takes, which its shapes say: benchmarks/predictor/template.py
compares both. A template's students are made like that from the start (skeleton.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from edgekd.export.check import ModelDescription, description, parsed_model
from edgekd.export.onnx import checked_bytes, export_onnx
from edgekd.export.trace import POOL
from edgekd.files import write_bytes


def export_untrained(model: Any, path: Path, *, kind: Literal["text", "image"]) -> ModelDescription:
    """As export_onnx, with large weights that repeat their first values; what the file takes and gives.

    Errors: as export_onnx.
    """
    export_onnx(model, path, kind=kind)
    proto = parsed_model(path)
    repeat_weights(proto)
    write_bytes(path, checked_bytes(proto, path))
    return description(proto)


def repeat_weights(proto: Any) -> None:
    """Let every fp32 weight of `proto` with more than POOL values repeat its first POOL."""
    for tensor in proto.graph.initializer:
        size, block = len(tensor.raw_data), 4 * POOL
        if tensor.data_type == tensor.FLOAT and size > block:
            tensor.raw_data = (tensor.raw_data[:block] * (size // block + 1))[:size]
