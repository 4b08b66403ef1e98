"""Attempts made of numbers: students of one to six layers of the tests' teacher, with a limit of 1 ms."""

from __future__ import annotations

from typing import Any

from edgekd.sizing.attempts import NOTHING, Attempt, Truth
from edgekd.student import StudentSpec


def tried_spec(layers: int) -> StudentSpec:
    return StudentSpec(
        architecture="bert", layers=layers, hidden=384, heads=12, ffn=1536, vocabulary=8000, positions=128,
        token_types=2, labels=2,
    )  # fmt: skip


def truth_of(ratio: float, **changes: Any) -> Truth:
    """A p50 whose upper end is `ratio` times the limit, kept where that is within it."""
    table = {
        "metric": "latency.p50", "unit": "s", "limit": 1e-3, "expected": 1e-3, "estimate": 0.98e-3 * ratio,
        "low": 0.97e-3 * ratio, "high": 1e-3 * ratio, "outcome": "pass" if ratio <= 1 else "fail",
        "reason": "KEPT" if ratio <= 1 else "MISSED",
    }  # fmt: skip
    return Truth.model_validate(table | changes)


def attempt_of(number: int, *, layers: int = 3, accuracy: float = 0.9, **more: Any) -> Attempt:
    """An attempt with a ratio for each precision, such as fp32=1.2, or any field of its own."""
    spec = tried_spec(layers)
    truths = {name: [truth_of(more.pop(name))] for name in ("fp32", "int8") if name in more}
    kept = any(truth.outcome == "pass" for found in truths.values() for truth in found)
    table = {
        "number": number, "name": spec.name, "spec": spec.to_dict(), "sequence": 0, "parameters": 1000 * layers + 500,
        "capacity": 1000 * layers, "learned": NOTHING, "truths": truths, "selected": next(iter(truths), "fp32"),
        "outcome": "pass" if kept else "fail", "validation_accuracy": accuracy, "seconds": 10.0 * layers,
    }  # fmt: skip
    return Attempt.model_validate(table | more)
