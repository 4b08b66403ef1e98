from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.errors import ExportError
from edgekd.export.fuse import fuse
from edgekd.export.half import convert_half
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.variants import MADE_BY, write_variant
from edgekd.export.weight_only import quantize_weights
from edgekd.student import PRECISIONS


def test_every_precision_but_fp32_is_made_of_it(bert_file: Path, tmp_path: Path) -> None:
    assert {"fp32", *MADE_BY} == set(PRECISIONS)
    table = {"fp16": convert_half, "int8": quantize_dynamic, "int4": quantize_weights, "fp32-fused": fuse}
    for precision, made_by in table.items():
        told = write_variant(bert_file, tmp_path / "variant.onnx", precision)
        assert told == made_by(bert_file, tmp_path / "direct.onnx")
        assert (tmp_path / "variant.onnx").read_bytes() == (tmp_path / "direct.onnx").read_bytes()


def test_another_precision_is_refused(bert_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'fp32', expected one of fp16, int8, int4, fp32-fused, int8-fused"):
        write_variant(bert_file, tmp_path / "again.onnx", "fp32")
    assert not (tmp_path / "again.onnx").exists()
