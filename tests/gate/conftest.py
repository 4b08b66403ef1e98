"""Builders of records: real ones, validated, with only the part a test speaks of spelled out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edgekd.record import AccuracyRecord, LatencyRecord
from edgekd.sla import Sla

MS = 1_000_000
TICK = {"at_s": 0.0, "clock_hz": 2_400_000_000, "governor": "performance", "throttled": "0x0"}
# What a side process saw on a board that nothing held back.
STEADY = {"cores": [0], "ticks": [TICK, {**TICK, "at_s": 1.0}, {**TICK, "at_s": 2.0}], "suspended_s": 0.0}


def _artifact(name: str, **facts: Any) -> dict[str, Any]:
    letter = format(sum(name.encode(errors="replace")) % 16, "x")
    return {"name": name, "sha256": letter * 64, "size_bytes": 1000, "precision": "fp32", "role": "student"} | facts


def _latency_record(
    runs: Sequence[Sequence[int]],
    name: str = "student-a",
    *,
    artifact: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    protocol: dict[str, Any] | None = None,
    peaks: Sequence[int | None] | None = None,
    **header: Any,
) -> LatencyRecord:
    known = {"name": "board", "machine": "aarch64", "system": "Linux", "python": "3.11", "cpu": "A76", "cores": 4}
    known |= {"vitals": [STEADY] * len(runs)}
    known |= {"governor": "performance", "throttled_before": "throttled=0x0", "throttled_after": "throttled=0x0"}
    table = {
        "kind": "latency",
        "artifact": _artifact(name, **(artifact or {})),
        "created_utc": "2026-01-01T00:00:00Z",
        "device": "rpi5",
        "host": known | (host or {}),
        "runtime": {"name": "onnxruntime", "version": "1.24", "providers": ["CPUExecutionProvider"], "threads": 4}
        | (runtime or {}),
        "protocol": {
            "shapes": {"input_ids": [1, 128]},
            "processes": len(runs),
            "warmup_s": 1.0,
            "min_duration_s": 1.0,
            "min_samples": 10,
        }
        | (protocol or {}),
        "runs": [
            {
                "load_ns": 5 * MS,
                "first_ns": 2 * MS,
                "warmup_ns": [2 * MS],
                "samples_ns": list(samples),
                "peak_memory_bytes": None if peaks is None else peaks[index],
            }
            for index, samples in enumerate(runs)
        ],
    }
    return LatencyRecord.model_validate(table | header)


def _accuracy_record(
    right: int, total: int, name: str = "student-a", *, artifact: dict[str, Any] | None = None, **changes: Any
) -> AccuracyRecord:
    table = {
        "kind": "accuracy",
        "artifact": _artifact(name, **(artifact or {})),
        "created_utc": "2026-01-01T00:00:00Z",
        "dataset": "sst2",
        "split": "validation",
        "dataset_sha256": "d" * 64,
        "runtime": {"name": "onnxruntime", "version": "1.24", "providers": ["CPUExecutionProvider"], "threads": 4},
        "predictions": [1] * right + [0] * (total - right),
        "labels": [1] * total,
    }
    return AccuracyRecord.model_validate(table | changes)


def _steady(runs: int, size: int, over: int = 0, *, fast: int = 4 * MS, slow: int = 20 * MS) -> list[list[int]]:
    """`runs` runs of `size` samples of about `fast` ns, of which `over` in all are `slow`, spread evenly."""
    rng = random.Random(runs * 100_003 + size * 101 + over)
    flat = [fast + rng.randrange(fast // 100) for _ in range(runs * size)]
    for index in range(over):
        flat[(2 * index + 1) * len(flat) // (2 * over)] = slow
    return [flat[start : start + size] for start in range(0, runs * size, size)]


@pytest.fixture(scope="session")
def latency_record() -> Callable[..., LatencyRecord]:
    return _latency_record


@pytest.fixture(scope="session")
def accuracy_record() -> Callable[..., AccuracyRecord]:
    return _accuracy_record


@pytest.fixture(scope="session")
def steady() -> Callable[..., list[list[int]]]:
    return _steady


@pytest.fixture(scope="session")
def sla() -> Callable[..., Sla]:
    def make(**limits: Any) -> Sla:
        return Sla.model_validate(limits)

    return make
