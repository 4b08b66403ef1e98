"""The agent's side of a detached run for boards of scripts: frames, states and sealed results as the real one has them."""

from __future__ import annotations

import json
from typing import Any

from edgekd.bench.agent.commands import framed
from edgekd.bench.agent.seal import manifest_of
from edgekd.hosts.fake import Answer, FakeHost

BOOT = "a"


def told(
    argv: tuple[str, ...], state: str | None = "DONE", /, *, answer: dict[str, Any] | None = None, **stated: Any
) -> bytes:
    """What the agent says to `argv` of a run in `state`; `stated` are keys of state.json, `answer` of the answer."""
    table: dict[str, Any] = {
        "format": 1, "run": argv[3], "state": state, "beat": 5, "boot_id": BOOT, "pid": 70, "session": 69,
        "starttime": 1, "steps": 3, **stated,
    }  # fmt: skip
    whole = {
        "format": 1, "run": argv[3], "boot_id": BOOT, "now_ns": 9, "state": None if state is None else table,
        "damaged": None, "alive": state in {"PREPARED", "RUNNING"}, "left": 0, "lock_free": True, **(answer or {}),
    }  # fmt: skip
    return framed(argv[4], whole)


def sealed(argv: tuple[str, ...], data: bytes, **changed: Any) -> dict[str, bytes]:
    """The files of a run that left `data`, with keys of the manifest `changed`."""
    try:
        result = json.loads(data)
        assert isinstance(result["runs"], list)
        manifest = manifest_of(data, result, run=argv[3], boot=BOOT, begun_ns=1, ended_ns=2)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        manifest = manifest_of(data, {"runs": []}, run=argv[3], boot=BOOT, begun_ns=1, ended_ns=2)
    folder = f"runs/{argv[3]}"
    return {f"{folder}/result.json": data, f"{folder}/manifest.json": json.dumps({**manifest, **changed}).encode()}


def orders(host: FakeHost, argv: tuple[str, ...]) -> dict[str, Any]:
    """The orders of the run that `argv` is about."""
    return dict(json.loads(host.files[f"runs/{argv[3]}/spec.json"]))


def done(argv: tuple[str, ...], result: bytes | dict[str, Any]) -> Answer:
    """A run that ended at once with `result`."""
    data = result if isinstance(result, bytes) else json.dumps(result).encode()
    return Answer(stdout=told(argv), files=sealed(argv, data))
