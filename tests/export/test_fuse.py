from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import ExportError, InputError
from edgekd.export.check import describe
from edgekd.export.fuse import fuse, fuse_and_quantize
from edgekd.export.onnx import export_onnx
from edgekd.export.parity import check_parity, onnx_logits, require
from edgekd.export.reference import torch_logits
from edgekd.recipe import Parity


@pytest.fixture
def fused_file(bert_file: Path, tmp_path: Path) -> Path:
    fuse(bert_file, tmp_path / "fused.onnx")
    return tmp_path / "fused.onnx"


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_attention_norms_and_activations_are_one_operator_each(bert_file: Path, fused_file: Path) -> None:
    found = operators(fused_file)
    assert found["Attention"] == found["BiasGelu"] == 2
    assert found["SkipLayerNormalization"] == 4
    assert found["Softmax"] == found["Transpose"] == 0
    assert sum(found.values()) < 0.2 * sum(operators(bert_file).values())
    plain, fused = describe(bert_file), describe(fused_file)
    assert (fused.inputs, fused.outputs, fused.opset) == (plain.inputs, plain.outputs, plain.opset)


def test_every_layer_keeps_its_own_number_of_heads(bert_file: Path, fused_file: Path) -> None:
    heads = [
        item.i
        for node in onnx.load(fused_file).graph.node
        if node.op_type == "Attention"
        for item in node.attribute
        if item.name == "num_heads"
    ]
    assert heads == [4, 4]
    assert bert_file != fused_file


def test_a_fused_graph_says_what_the_trained_model_says_padding_included(
    bert: Any, fused_file: Path, ragged: Any
) -> None:
    batches = ragged("bert", tuple((3, 2 + n % 30) for n in range(40)))
    reference = torch_logits(bert, batches)
    require(check_parity(reference, fused_file, batches, Parity()), "fp32-fused", Parity())


@pytest.mark.parametrize("name", ["roberta", "gpt2", "vit"])
def test_other_families_are_fused_as_far_as_patterns_go(name: str, lively: Any, ragged: Any, tmp_path: Path) -> None:
    model = lively(name)
    export_onnx(model, tmp_path / "fp32.onnx", kind="image" if name == "vit" else "text")
    fuse(tmp_path / "fp32.onnx", tmp_path / "fused.onnx")
    assert sum(operators(tmp_path / "fused.onnx").values()) < sum(operators(tmp_path / "fp32.onnx").values())
    batches = ragged(name)
    found, expected = onnx_logits(tmp_path / "fused.onnx", batches), torch_logits(model, batches)
    assert np.abs(found - expected).max() < 1e-3


def test_int8_reaches_the_projections_inside_attention(
    bert: Any, bert_file: Path, fused_file: Path, ragged: Any, tmp_path: Path
) -> None:
    fuse_and_quantize(bert_file, tmp_path / "int8.onnx")
    found = operators(tmp_path / "int8.onnx")
    assert found["QAttention"] == 2
    assert found["Attention"] == found["MatMul"] == found["Gemm"] == 0
    batches = ragged("bert", tuple((1, 2 + n % 30) for n in range(60)))
    result = check_parity(torch_logits(bert, batches), tmp_path / "int8.onnx", batches, Parity())
    assert 1e-3 < result.absolute < 1.5
    require(result, "int8-fused", Parity())
    assert (tmp_path / "int8.onnx").stat().st_size < fused_file.stat().st_size


def test_same_source_gives_the_same_bytes_from_any_folder(bert_file: Path, fused_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy.onnx"
    copy.parent.mkdir()
    copy.write_bytes(bert_file.read_bytes())
    fuse(copy, tmp_path / "elsewhere" / "fused.onnx")
    assert (tmp_path / "elsewhere" / "fused.onnx").read_bytes() == fused_file.read_bytes()
    assert str(tmp_path).encode() not in fused_file.read_bytes()


def test_the_tools_talk_is_kept_away_and_its_logger_left_alone(
    bert_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (logging.root.manager.disable, list(logging.root.handlers), list(logging.root.filters))
    fuse(bert_file, tmp_path / "fused.onnx")
    assert (logging.root.manager.disable, list(logging.root.handlers), list(logging.root.filters)) == before
    assert caplog.text == ""


def test_what_cannot_be_fused_is_refused(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("a", "b", "logits")]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["logits"])], "g", values[:2], values[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="no operators that could be fused"):
        fuse(tmp_path / "m.onnx", tmp_path / "fused.onnx")
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        fuse(tmp_path / "gone.onnx", tmp_path / "fused.onnx")
    assert not (tmp_path / "fused.onnx").exists()
