from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgekd.errors import ExportError, InputError
from edgekd.export.check import describe
from edgekd.export.half import convert_half
from edgekd.export.onnx import export_onnx
from edgekd.export.parity import check_parity, onnx_logits, require
from edgekd.export.reference import torch_logits
from edgekd.export.variants import write_variant
from edgekd.recipe import Parity


@pytest.fixture
def half_file(bert_file: Path, tmp_path: Path) -> Path:
    convert_half(bert_file, tmp_path / "fp16.onnx")
    return tmp_path / "fp16.onnx"


def test_all_weights_take_two_bytes_and_inputs_and_logits_stay(bert_file: Path, half_file: Path) -> None:
    kinds = {tensor.data_type for tensor in onnx.load(half_file).graph.initializer}
    assert TensorProto.FLOAT not in kinds
    assert TensorProto.FLOAT16 in kinds
    fp32, fp16 = describe(bert_file), describe(half_file)
    assert (fp16.inputs, fp16.outputs, fp16.opset) == (fp32.inputs, fp32.outputs, fp32.opset)
    assert half_file.stat().st_size < bert_file.stat().st_size


def test_fp16_answers_as_the_trained_model_padding_included(bert: Any, half_file: Path, ragged: Any) -> None:
    batches = ragged("bert", tuple((3, 2 + n % 30) for n in range(40)))
    reference = torch_logits(bert, batches)
    result = check_parity(reference, half_file, batches, Parity())
    assert result.relative < 5e-3
    require(result, "fp16", Parity())


@pytest.mark.parametrize("name", ["gpt2", "llama", "vit"])
def test_other_families_answer_too(name: str, lively: Any, ragged: Any, tmp_path: Path) -> None:
    model = lively(name)
    export_onnx(model, tmp_path / "fp32.onnx", kind="image" if name == "vit" else "text")
    convert_half(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx")
    batches = ragged(name)
    found, expected = onnx_logits(tmp_path / "fp16.onnx", batches), torch_logits(model, batches)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_same_source_gives_the_same_bytes_from_any_folder(bert_file: Path, half_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy.onnx"
    copy.parent.mkdir()
    copy.write_bytes(bert_file.read_bytes())
    convert_half(copy, tmp_path / "elsewhere" / "fp16.onnx")
    assert (tmp_path / "elsewhere" / "fp16.onnx").read_bytes() == half_file.read_bytes()
    assert str(tmp_path).encode() not in half_file.read_bytes()


def test_what_is_no_fp32_model_is_refused(bert_file: Path, half_file: Path, tmp_path: Path) -> None:
    write_variant(bert_file, tmp_path / "int8.onnx", "int8")
    for path in (half_file, tmp_path / "int8.onnx"):
        with pytest.raises(ExportError, match="nothing to convert to fp16"):
            convert_half(path, tmp_path / "twice.onnx")
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        convert_half(tmp_path / "gone.onnx", tmp_path / "twice.onnx")
    assert not (tmp_path / "twice.onnx").exists()
