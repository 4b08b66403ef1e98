"""An attempts.json as a loop leaves it: a student that missed, one that kept the limits, and a larger one that did not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.sizing.attempts import Attempt, AttemptsFile, Truth, write_attempts
from edgekd.sizing.proposal import learned_from, winner
from edgekd.student import StudentSpec

SIZES = ((4, 80, 320, 1.31, 0.9792), (3, 80, 320, 0.86, 0.9722), (3, 88, 320, 1.02, 0.9757))


def loop_file(ended: str = "no student lies between the two") -> AttemptsFile:
    """Limits of 1 ms at p50 and 2 MB; sizing had expected a fifth less."""
    attempts: list[Attempt] = []
    for number, (layers, hidden, ffn, ratio, accuracy) in enumerate(SIZES, start=1):
        spec = StudentSpec(
            architecture="vit", layers=layers, hidden=hidden, heads=hidden // 8, ffn=ffn, labels=10, image_size=8,
            patch_size=2, channels=1,
        )  # fmt: skip
        attempts.append(attempt_of(spec, ratio, number=number, accuracy=accuracy, learned=learned_from(attempts)))
    best = winner(attempts).number
    return AttemptsFile(key="k", loop="l", attempts=attempts, ended=ended, best=best)


def attempt_of(spec: StudentSpec, ratio: float, *, number: int, accuracy: float, **more: Any) -> Attempt:
    capacity = spec.layers * (4 * spec.hidden**2 + 2 * spec.hidden * spec.ffn)
    table = {
        "number": number, "name": spec.name, "spec": spec.to_dict(), "sequence": 0, "parameters": capacity + 2000,
        "capacity": capacity, "learned": learned_from([]), "selected": "int8",
        "truths": {"fp32": truths(2 * ratio), "int8": truths(ratio)}, "outcome": "pass" if ratio <= 1 else "fail",
        "validation_accuracy": accuracy, "seconds": 30.0 * spec.layers,
    }  # fmt: skip
    return Attempt.model_validate(table | more)


def truths(ratio: float) -> list[Truth]:
    return [
        truth("latency.p50", "s", 1e-3, ratio), truth("size", "B", 2e6, 0.4),
        Truth(
            metric="accuracy", unit="share", limit=0.9, expected=None, estimate=0.97, low=None, high=None,
            outcome="pass", reason="KEPT",
        ),
    ]  # fmt: skip


def truth(metric: str, unit: Any, limit: float, ratio: float, **more: Any) -> Truth:
    kept = ratio <= 1
    table = {
        "metric": metric, "unit": unit, "limit": limit, "expected": 0.8 * ratio * limit, "estimate": 0.98 * ratio * limit,
        "low": 0.97 * ratio * limit, "high": ratio * limit, "outcome": "pass" if kept else "fail",
        "reason": "KEPT" if kept else "MISSED",
    }  # fmt: skip
    return Truth.model_validate(table | more)


def write_loop(root: Path, **changes: Any) -> Path:
    write_attempts(loop_file(**changes), root / "attempts.json")
    return root
