"""Results are believed only after every value was checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekd.bench.results import Result, agent_error, results_from_bytes
from edgekd.errors import Corrupt, HostError, InputError, MeasureError
from edgekd.record import ProcessRun

HOST = {"machine": "aarch64", "system": "Linux", "python": "3.11", "boot_id": "a", "cores": 4}
RUNTIME = {"name": "onnxruntime", "version": "1", "providers": ["CPUExecutionProvider"], "threads": 1}
RUN = {"load_ns": 5, "first_ns": 4, "warmup_ns": [3], "samples_ns": [2, 3]}
WHOLE = {
    "format": 1,
    "host": HOST,
    "runtime": RUNTIME,
    "clock": "monotonic",
    "runs": [{"shapes": {"x": [1]}, "run": RUN}],
}


def _read(table: Any, *, samples: int = 3) -> list[Result]:
    data = table if isinstance(table, bytes) else json.dumps(table).encode()
    return results_from_bytes(data, "pi: tiny", "pi", expected=1, samples=samples)


def test_a_whole_result_is_read_with_the_name_that_we_gave_the_host() -> None:
    (result,) = _read({**WHOLE, "host": {**HOST, "name": "evil"}})
    assert result.host.name == "pi"
    assert result.run == RUN
    assert result.shapes == {"x": [1]}


def test_a_count_that_differs_from_the_manifest_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="holds 3 times, its manifest says 4"):
        _read(WHOLE, samples=4)


@pytest.mark.parametrize("kind", ["memory", "missing"])
def test_what_is_wrong_with_the_board_is_a_host_error(kind: str) -> None:
    assert type(agent_error({"kind": kind, "message": "m"}, "pi")) is HostError


def test_what_is_wrong_with_the_model_is_an_input_error_and_the_rest_a_measure_error() -> None:
    assert isinstance(agent_error({"kind": "shape", "message": "a\nb"}, "pi"), InputError)
    for error in ({}, {"kind": 7}, {"kind": "new"}):
        assert type(agent_error(error, "pi")) is MeasureError


TIMES = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.lists(TIMES, max_size=4), TIMES)
def test_no_time_but_a_whole_number_above_zero_becomes_a_record(samples: list[Any], load: Any) -> None:
    run = {**RUN, "samples_ns": samples, "load_ns": load}
    try:
        (result,) = _read({**WHOLE, "runs": [{"shapes": {}, "run": run}]}, samples=len(samples) + 1)
        made = ProcessRun.model_validate(result.run)
    except (Corrupt, ValidationError):
        return
    assert all(type(value) is int and 0 < value < 2**63 for value in [*made.samples_ns, made.load_ns])
    assert made.samples_ns == samples


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_corrupt_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Corrupt):
        _read(data)
