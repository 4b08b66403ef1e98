"""Failures that are to be expected, and what can be imported on the board."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Dict, Tuple, Type


class AgentError(Exception):
    """A failure that was to be expected: its kind, its message, and the signal that ended a process if any."""

    def table(self) -> Dict[str, Any]:
        return dict(zip(("kind", "message", "signal"), self.args))


def module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        said = "%s cannot be imported by %s (%s). Run there: %s -m pip install onnxruntime numpy"
        raise AgentError("missing", said % (name, sys.executable, error, sys.executable)) from None


def runtime_errors() -> Tuple[Type[BaseException], ...]:
    """Everything onnxruntime raises; its classes share no ancestor but Exception."""
    state = vars(module("onnxruntime.capi.onnxruntime_pybind11_state"))
    own = [value for value in state.values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, OSError)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:600]
