"""What can be imported on the board, and which errors are its runtime's."""

import sys

import onnxruntime
import pytest

from edgekd.bench.agent.failures import AgentError, first_line, module, runtime_errors


def test_a_module_that_is_missing_is_named_with_the_command_that_mends_it() -> None:
    with pytest.raises(AgentError) as caught:
        module("no_such_runtime")
    kind, message = caught.value.args
    assert kind == "missing"
    assert "no_such_runtime cannot be imported" in message
    assert f"{sys.executable} -m pip install onnxruntime numpy" in message


def test_the_errors_of_the_runtime_are_caught_by_name() -> None:
    with pytest.raises(runtime_errors()):
        onnxruntime.InferenceSession(b"no model", providers=["CPUExecutionProvider"])
    assert Exception not in runtime_errors()


def test_an_error_is_told_in_one_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError("")) == "ValueError"
    assert len(first_line(ValueError("x" * 10_000))) == 600
