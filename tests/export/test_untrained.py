from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgekd.export.check import parsed_model
from edgekd.export.onnx import export_onnx
from edgekd.export.signature import first_difference, graph_signature
from edgekd.export.template import learn
from edgekd.export.trace import POOL
from edgekd.export.untrained import export_untrained, repeat_weights
from edgekd.networks.convolutional import efficientnet, mobilenet_v2
from edgekd.student import PRECISIONS, StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

TEACHER = StudentSpec(
    architecture="bert",
    layers=4,
    hidden=256,
    heads=4,
    ffn=1024,
    vocabulary=3000,
    positions=128,
    token_types=2,
    labels=3,
)


def shrinks_to(path: Path) -> float:
    data = path.read_bytes()
    return len(zlib.compress(data, 1)) / len(data)


def answers(path: Path, side: int) -> Any:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32)
    return session.run(None, {"pixel_values": images})[0]


@pytest.mark.parametrize("network", [mobilenet_v2, efficientnet])
def test_untrained_network_of_images_compresses_and_is_the_same_graph(network: Any, tmp_path: Path) -> None:
    model = build(network(0.5, image_size=64, labels=10), None, seed=0)
    real, repeated = tmp_path / "real.onnx", tmp_path / "repeated.onnx"
    told = export_onnx(model, real, kind="image")
    assert export_untrained(model, repeated, kind="image") == told
    difference = first_difference(*(graph_signature(parsed_model(path)) for path in (repeated, real)))
    assert difference == ""
    assert repeated.stat().st_size == real.stat().st_size
    assert shrinks_to(real) > 0.85
    assert shrinks_to(repeated) < 0.12
    found = answers(repeated, 64)
    assert found.shape == (2, 10)
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0


def test_large_weights_repeat_their_first_values_and_all_else_stays() -> None:
    draw = np.random.default_rng(0)
    values = {
        "large": draw.normal(size=(50, 60)).astype(np.float32),
        "small": draw.normal(size=POOL).astype(np.float32),
        "whole": draw.integers(0, 9, size=5000),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    proto = helper.make_model(helper.make_graph([], "g", [], [], tensors))
    repeat_weights(proto)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert np.array_equal(found["small"], values["small"])
    assert np.array_equal(found["whole"], values["whole"])
    assert found["large"].shape == (50, 60)
    assert np.array_equal(found["large"].reshape(-1), np.resize(values["large"].reshape(-1)[:POOL], 3000))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_students_from_a_template_compress_in_every_precision(precision: str, tmp_path: Path) -> None:
    config = config_from_spec(TEACHER)
    template = learn(TEACHER, lambda spec: build(spec, config, seed=0), kind="text", precision=precision)
    for hidden, ffn in ((256, 1024), (192, 500)):
        heads = hidden // 64
        spec = replace(TEACHER, layers=3, hidden=hidden, heads=heads, kv_heads=heads, ffn=ffn)
        path = tmp_path / "student.onnx"
        template.write(spec, path)
        assert shrinks_to(path) < 0.1
