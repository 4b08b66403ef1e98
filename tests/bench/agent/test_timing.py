"""One model in one process."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.bench.agent.failures import AgentError
from edgekd.bench.agent.timing import MIN_WARMUP_RUNS, Model, clock, loaded, measured, warm_up
from edgekd.bench.plan import BenchPlan

SPEC: dict[str, Any] = {**BenchPlan(dims={"batch": 2, "sequence": 16}).spec(), "input_data": None}


def test_a_model_has_inputs_of_the_ordered_shape_and_knows_how_long_it_took_to_load(classifier: Path) -> None:
    model = Model(str(classifier), SPEC)
    assert model.shapes == {"input_ids": [2, 16], "attention_mask": [2, 16]}
    assert model.load_ns > 0
    assert model.time_ns() > 0


def test_the_clock_is_the_one_that_time_synchronisation_does_not_bend() -> None:
    name, now = clock()
    assert name == "CLOCK_MONOTONIC_RAW"
    assert now() <= now()


def test_warming_up_keeps_the_first_times_of_the_last_model_alone(classifier: Path) -> None:
    model = Model(str(classifier), SPEC)
    _, now = clock()
    assert len(warm_up([model], 0.0, now, 10)) == MIN_WARMUP_RUNS
    assert len(warm_up([model, model], 0.05, now, 5)) == pytest.approx(5, abs=2)


@pytest.mark.parametrize(
    ("sizes", "kind", "said"),
    [
        ((2**20, 2**28), "memory", "too little memory for the model and its inputs"),
        ((2**31 - 1, 2**31 - 1, 2**31 - 1), "shape", "inputs of these shapes cannot be made"),
    ],
)
def test_inputs_that_no_memory_holds_are_told_as_that(
    sizes: tuple[int, ...], kind: str, said: str, tmp_path: Path
) -> None:
    path = _relu(tmp_path / "any.onnx", None)
    with pytest.raises(AgentError, match=said) as caught:
        loaded(str(path), {**SPEC, "shapes": {"x": list(sizes)}}, None)
    assert caught.value.args[0] == kind


def test_a_model_that_declares_no_rank_is_measured_with_the_shape_that_is_given(tmp_path: Path) -> None:
    path = _relu(tmp_path / "any.onnx", None)
    spec = {**SPEC, "mode": "plain", "shapes": {"x": [1, 64]}, "warmup_s": 0, "min_duration_s": 0, "min_samples": 3}
    assert measured(str(path), spec)["shapes"] == {"x": [1, 64]}


def test_weights_in_another_file_are_named_with_the_way_out(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "two-files",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        initializer=[weight],
    )
    model, path = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    with pytest.raises(AgentError, match=r"lie in another file, which is not sent: store it as one, python -c"):
        loaded(str(path), SPEC, None)


def _relu(path: Path, shape: list[int] | None) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
