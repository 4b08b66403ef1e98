"""A tiny real classifier of text, so that sessions measure what users measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))  # for the workbench that several modules share

from workbench import Workbench
from worksite import Site, sites


def classifier_bytes(vocabulary: int = 50, width: int = 8) -> bytes:
    """Token ids and a mask to two logits; batch and length are free."""
    random = np.random.default_rng(0)
    table = numpy_helper.from_array(random.standard_normal((vocabulary, width)).astype(np.float32), "table")
    head = numpy_helper.from_array(random.standard_normal((width, 2)).astype(np.float32), "head")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["tokens", "column"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS]
    logits = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    last = numpy_helper.from_array(np.array([2], dtype=np.int64), "last")
    graph = helper.make_graph(nodes, "tiny", ids, logits, initializer=[table, head, last])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return model.SerializeToString()


INPUTS = ("input_ids", "attention_mask")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    path.write_bytes(classifier_bytes())
    return path


@pytest.fixture(scope="session")
def wider_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "wider.onnx"
    path.write_bytes(classifier_bytes(width=16))
    return path


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A workspace with the real agent; what is left of its runs is ended afterwards."""
    workbench = Workbench(tmp_path / "bench")
    yield workbench
    workbench.close()


@pytest.fixture(params=["local", "ssh"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from sites(tmp_path, request.param, request)


@pytest.fixture
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from sites(tmp_path, "local", request)


@pytest.fixture
def ssh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    yield from sites(tmp_path, "ssh", request)
