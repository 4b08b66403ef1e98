"""A tiny int8 model for boards that are a hundred times slower than this machine: an untrained BERT of two layers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgekd.student import StudentSpec

SPEC = StudentSpec(
    architecture="bert", layers=2, hidden=64, heads=2, ffn=128, vocabulary=500, positions=64, token_types=2, labels=2
)


def tiny_int8(path: Path) -> Path:
    """The model at `path`, by edgekd's own exporter and quantiser, unless it is there. Errors: as theirs.

    Shapes: input_ids, attention_mask and token_type_ids int64 (batch, sequence); logits float32 (batch, 2).
    """
    if path.exists():
        return path
    from edgekd.export.onnx import export_onnx
    from edgekd.export.quantize import quantize_dynamic
    from edgekd.students.build import build

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "fp32.onnx"
        export_onnx(build(SPEC, seed=0), source, kind="text")
        quantize_dynamic(source, path)
    return path
