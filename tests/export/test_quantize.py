from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import ExportError, InputError
from edgekd.export.check import describe
from edgekd.export.onnx import export_onnx
from edgekd.export.parity import check_parity, onnx_logits, require
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.reference import torch_logits
from edgekd.recipe import Parity

Maker = Callable[..., Any]
Ragged = Callable[..., list[dict[str, np.ndarray[Any, Any]]]]


@pytest.fixture
def int8_file(bert_file: Path, tmp_path: Path) -> Path:
    quantize_dynamic(bert_file, tmp_path / "int8.onnx")
    return tmp_path / "int8.onnx"


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_every_product_with_weights_becomes_int8_and_attention_stays_float(bert_file: Path, int8_file: Path) -> None:
    before, after = operators(bert_file), operators(int8_file)
    attention = 2 * 2  # scores and values in each of two layers have no weights
    assert after["MatMul"] == attention
    assert after["Gemm"] == 0
    assert after["MatMulInteger"] == before["MatMul"] + before["Gemm"] - attention
    assert int8_file.stat().st_size < bert_file.stat().st_size


def test_weights_are_signed_per_channel_and_use_seven_bits(int8_file: Path) -> None:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(int8_file).graph.initializer}
    weights = {name: value for name, value in tensors.items() if name.endswith("_quantized")}
    assert len(weights) == 2 * 6 + 2
    for name, value in weights.items():
        assert value.dtype == np.int8
        assert np.abs(value.astype(int)).max() <= 64
        assert len(tensors[name.removesuffix("_quantized") + "_scale"]) == value.shape[1]


def test_inputs_and_logits_stay_as_they_were(bert_file: Path, int8_file: Path) -> None:
    fp32, int8 = describe(bert_file), describe(int8_file)
    assert (int8.inputs, int8.outputs, int8.opset) == (fp32.inputs, fp32.outputs, fp32.opset)


def test_int8_answers_nearly_as_the_trained_model(bert: Any, bert_file: Path, int8_file: Path, ragged: Ragged) -> None:
    batches = ragged("bert", tuple((1, 2 + n % 30) for n in range(100)))
    reference = torch_logits(bert, batches)
    assert len(set(reference.argmax(axis=1))) > 1
    result = check_parity(reference, int8_file, batches, Parity())
    assert result.examples == 100
    assert 1e-3 < result.absolute < 1.0
    assert result.agreement >= 0.9
    require(result, "int8", Parity(int8_agreement=0.9))
    with pytest.raises(ExportError, match="a logit differs"):
        require(result, "fp32", Parity())


def test_products_of_gpt2_written_as_gemm_are_quantised_too(lively: Maker, ragged: Ragged, tmp_path: Path) -> None:
    model = lively("gpt2")
    export_onnx(model, tmp_path / "fp32.onnx", kind="text")
    quantize_dynamic(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    assert operators(tmp_path / "int8.onnx")["MatMulInteger"] == 2 * 4 + 1
    batches = ragged("gpt2")
    difference = onnx_logits(tmp_path / "int8.onnx", batches) - torch_logits(model, batches)
    assert np.sqrt((difference**2).mean()) < 0.3


def test_same_source_gives_the_same_bytes_from_any_folder(bert_file: Path, int8_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy.onnx"
    copy.parent.mkdir()
    copy.write_bytes(bert_file.read_bytes())
    quantize_dynamic(copy, tmp_path / "elsewhere" / "int8.onnx")
    assert (tmp_path / "elsewhere" / "int8.onnx").read_bytes() == int8_file.read_bytes()
    assert str(tmp_path).encode() not in int8_file.read_bytes()


def test_nothing_is_left_beside_the_target_in_the_working_or_the_temporary_folder(
    bert_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("work", "temporary", "source", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "fp32.onnx").write_bytes(bert_file.read_bytes())
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    quantize_dynamic(tmp_path / "source" / "fp32.onnx", tmp_path / "target" / "int8.onnx")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["source/fp32.onnx", "target/int8.onnx"]


def test_logging_of_the_program_is_left_as_it_was(
    bert_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters))
    quantize_dynamic(bert_file, tmp_path / "int8.onnx")
    assert (list(root.handlers), list(root.filters)) == before
    assert "pre-processing" not in caplog.text


def test_quantising_twice_is_refused(int8_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is quantised already"):
        quantize_dynamic(int8_file, tmp_path / "twice.onnx")
    assert not (tmp_path / "twice.onnx").exists()


@pytest.mark.parametrize(("operator", "message"), [("Add", "no matrix product"), ("MatMul", "constant weights")])
def test_model_without_constant_products_is_refused(operator: str, message: str, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("a", "b", "logits")]
    graph = helper.make_graph([helper.make_node(operator, ["a", "b"], ["logits"])], "g", values[:2], values[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=message):
        quantize_dynamic(tmp_path / "m.onnx", tmp_path / "int8.onnx")


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        quantize_dynamic(tmp_path / "gone.onnx", tmp_path / "int8.onnx")
