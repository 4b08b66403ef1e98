"""One model in one process."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.bench.agent.timing import MIN_WARMUP_RUNS, Model, clock, warm_up
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
