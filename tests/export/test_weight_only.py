from __future__ import annotations

import logging
import subprocess
import sys
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
from edgekd.export.reference import torch_logits
from edgekd.export.weight_only import quantize_weights
from edgekd.recipe import Parity

Maker = Callable[..., Any]
Ragged = Callable[..., list[dict[str, np.ndarray[Any, Any]]]]


@pytest.fixture
def int4_file(bert_file: Path, tmp_path: Path) -> Path:
    quantize_weights(bert_file, tmp_path / "int4.onnx")
    return tmp_path / "int4.onnx"


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_every_product_with_weights_takes_four_bits_and_attention_stays_float(bert_file: Path, int4_file: Path) -> None:
    before, after = operators(bert_file), operators(int4_file)
    attention = 2 * 2  # scores and values in each of two layers have no weights
    assert after["MatMul"] == attention
    assert after["Gemm"] == 0
    assert after["MatMulNBits"] == before["MatMul"] + before["Gemm"] - attention
    assert int4_file.stat().st_size < bert_file.stat().st_size


def test_weights_are_the_nearest_of_sixteen_steps_in_blocks_of_32(bert_file: Path, int4_file: Path) -> None:
    proto = onnx.load(int4_file)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    real = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(bert_file).graph.initializer}
    nodes = [node for node in proto.graph.node if node.op_type == "MatMulNBits"]
    assert len(nodes) == 2 * 6 + 2
    for node in nodes:
        given = {item.name: item.i for item in node.attribute}
        packed, scales = tensors[node.input[1]], tensors[node.input[2]].reshape(given["N"], -1)
        assert (given["bits"], given["block_size"], given["accuracy_level"], len(node.input)) == (4, 32, 4, 3)
        steps = np.stack([packed & 15, packed >> 4], axis=-1).reshape(given["N"], -1, 32).astype(int) - 8
        values = (steps * scales[:, :, None]).reshape(given["N"], -1)[:, : given["K"]]
        name = node.input[1].removesuffix("_Q4")
        matrix = real[name.removesuffix("_transposed")]
        expected = matrix if name.endswith("_transposed") else matrix.T
        allowed = np.repeat(np.abs(scales), 32, axis=1)[:, : given["K"]]
        # One end of sixteen steps around zero is half a step too short.
        assert (np.abs(values - expected) <= 1.001 * allowed).all()
        assert np.abs(values - expected).mean() < 0.3 * allowed.mean()


def test_inputs_and_logits_stay_as_they_were(bert_file: Path, int4_file: Path) -> None:
    fp32, int4 = describe(bert_file), describe(int4_file)
    assert (int4.inputs, int4.outputs, int4.opset) == (fp32.inputs, fp32.outputs, fp32.opset)


def test_int4_answers_nearly_as_the_trained_model(bert: Any, int4_file: Path, ragged: Ragged) -> None:
    batches = ragged("bert", tuple((1, 2 + n % 30) for n in range(100)))
    reference = torch_logits(bert, batches)
    assert len(set(reference.argmax(axis=1))) > 1
    result = check_parity(reference, int4_file, batches, Parity())
    assert 1e-3 < result.absolute < 3.0
    require(result, "int4", Parity(int4_agreement=0.7))
    with pytest.raises(ExportError, match="a logit differs"):
        require(result, "fp32", Parity())


def test_products_of_gpt2_written_as_gemm_are_quantised_too(lively: Maker, ragged: Ragged, tmp_path: Path) -> None:
    model = lively("gpt2")
    export_onnx(model, tmp_path / "fp32.onnx", kind="text")
    quantize_weights(tmp_path / "fp32.onnx", tmp_path / "int4.onnx")
    assert operators(tmp_path / "int4.onnx")["MatMulNBits"] == 2 * 4 + 1
    batches = ragged("gpt2")
    difference = onnx_logits(tmp_path / "int4.onnx", batches) - torch_logits(model, batches)
    assert np.sqrt((difference**2).mean()) < 1.0


def test_same_source_gives_the_same_bytes_from_any_folder(bert_file: Path, int4_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy.onnx"
    copy.parent.mkdir()
    copy.write_bytes(bert_file.read_bytes())
    quantize_weights(copy, tmp_path / "elsewhere" / "int4.onnx")
    assert (tmp_path / "elsewhere" / "int4.onnx").read_bytes() == int4_file.read_bytes()
    assert str(tmp_path).encode() not in int4_file.read_bytes()


def test_logging_of_the_program_is_left_as_it_was(bert_file: Path, tmp_path: Path) -> None:
    code = (
        "import logging, sys, pathlib\n"
        "from edgekd.export.weight_only import quantize_weights\n"
        "root = logging.getLogger()\n"
        "before = (root.level, list(root.handlers), list(root.filters))\n"
        "quantize_weights(*map(pathlib.Path, sys.argv[1:]))\n"
        "sys.exit((root.level, list(root.handlers), list(root.filters)) != before)\n"
    )
    command = [sys.executable, "-c", code, str(bert_file), str(tmp_path / "int4.onnx")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert logging.getLogger().level in (logging.NOTSET, logging.WARNING)


def test_quantising_twice_is_refused(int4_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing to quantise"):
        quantize_weights(int4_file, tmp_path / "twice.onnx")
    assert not (tmp_path / "twice.onnx").exists()


@pytest.mark.parametrize("operator", ["Add", "MatMul"])
def test_model_without_constant_products_is_refused(operator: str, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("a", "b", "logits")]
    graph = helper.make_graph([helper.make_node(operator, ["a", "b"], ["logits"])], "g", values[:2], values[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="nothing to quantise"):
        quantize_weights(tmp_path / "m.onnx", tmp_path / "int4.onnx")


@pytest.mark.parametrize(("transposed", "scale"), [(0, 1.0), (1, 1.0), (1, 0.5)])
def test_a_gemm_says_the_same_as_product_and_sum(transposed: int, scale: float, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(3, 64) if transposed else (64, 3)).astype(np.float32)
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(3, np.float32), "b")]
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["logits"], name="g", transB=transposed, alpha=scale)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", 64), ("logits", 3))
    ]
    graph = helper.make_graph([gemm], "g", ends[:1], ends[1:], tensors)
    path = tmp_path / "gemm.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    if scale != 1.0:
        with pytest.raises(ExportError, match="nothing to quantise"):
            quantize_weights(path, tmp_path / "int4.onnx")
        return
    quantize_weights(path, tmp_path / "int4.onnx")
    batches = [{"x": draw.normal(size=(5, 64)).astype(np.float32)}]
    found, expected = onnx_logits(tmp_path / "int4.onnx", batches), onnx_logits(path, batches)
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        quantize_weights(tmp_path / "gone.onnx", tmp_path / "int4.onnx")
