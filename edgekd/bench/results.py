"""From the bytes that a board sent to checked results: nothing is believed because it looks right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgekd.errors import Corrupt, HostError, InputError, MeasureError, RecordError
from edgekd.files import json_from_bytes
from edgekd.record import HostFacts, Protocol, Runtime
from edgekd.text import printable

AGENT_FORMAT = 1
# Which side an agent's error is on: what the user named, the board, or the measurement.
_ERRORS: dict[str, type[InputError | HostError | MeasureError]] = {
    "shape": InputError,
    "input": InputError,
    "model": InputError,
    "missing": HostError,
    "memory": HostError,
    "runtime": MeasureError,
    "spec": MeasureError,
}
_ANY_PROTOCOL = {"processes": 1, "warmup_s": 0.0, "min_duration_s": 0.0, "min_samples": 1}


@dataclass(frozen=True)
class Result:
    """What one process brought home."""

    host: HostFacts
    runtime: Runtime
    shapes: dict[str, list[int]]
    clock: str
    run: dict[str, Any]


def results_from_bytes(data: bytes, where: str, host_name: str, *, expected: int, samples: int) -> list[Result]:
    """The results for `expected` models in `data`, which hold `samples` times together. Errors: Corrupt."""
    try:
        table = json_from_bytes(data, where=where)
    except RecordError as error:
        raise Corrupt(f"{error}; the board's result is damaged") from None
    if not isinstance(table, dict) or table.get("format") != AGENT_FORMAT:
        raise Corrupt(f"{where}: the board's result has another format than {AGENT_FORMAT}")
    try:
        host = HostFacts.model_validate({**table["host"], "name": host_name})
        runtime = Runtime.model_validate(table["runtime"])
        results = [_result(host, runtime, table["clock"], one) for one in table["runs"]]
    except ValidationError as problems:
        raise impossible(where, problems) from None
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{where}: the board's result lacks a part ({printable(repr(error), 120)})") from None
    if len(results) != expected:
        raise Corrupt(f"{where}: the board's result holds {len(results)} runs, expected {expected}")
    found = sum(len(value) for result in results for value in result.run.values() if isinstance(value, list))
    if found != samples:
        raise Corrupt(f"{where}: the board's result holds {found} times, its manifest says {samples}")
    return results


def _result(host: HostFacts, runtime: Runtime, clock: Any, table: Any) -> Result:
    checked = Protocol.model_validate({**_ANY_PROTOCOL, "shapes": table["shapes"], "clock": clock})
    return Result(host, runtime, checked.shapes, checked.clock, dict(table["run"]))


def agent_error(error: dict[str, Any], where: str) -> InputError | HostError | MeasureError:
    """The error that the agent found, as one of ours."""
    message = printable(str(error.get("message", "no message")), 1500).replace("\n", " ")
    return _ERRORS.get(str(error.get("kind")), MeasureError)(f"{where}: {message}")


def impossible(where: str, problems: ValidationError) -> Corrupt:
    """The error for values that cannot be true."""
    first = problems.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    found = printable(repr(first["input"]), 60)
    return Corrupt(f"{where}: the board's result cannot be true: {place}: {first['msg']} (found {found})")
