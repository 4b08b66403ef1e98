"""What an agent brings home, written down for boards that answer without measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.plan import BenchPlan
from edgekd.record import Artifact

QUICK = BenchPlan(
    processes=2, warmup_s=0.05, min_duration_s=0.1, min_samples=20, dims={"batch": 1, "sequence": 16}, id_limit=50
)
HOST = {"machine": "aarch64", "system": "Linux", "python": "3.11", "boot_id": "a", "cores": 4}
RUNTIME = {"name": "onnxruntime", "version": "1", "providers": ["CPUExecutionProvider"], "threads": 1}
RUN = {"load_ns": 5, "first_ns": 4, "warmup_ns": [3], "samples_ns": [2] * 20}


def models_at(*paths: Path) -> list[tuple[Path, Artifact]]:
    return [(path, artifact_from_file(path)) for path in paths]


def result_of_agent(**changed: Any) -> dict[str, Any]:
    whole = {
        "format": 1,
        "host": HOST,
        "runtime": RUNTIME,
        "clock": "CLOCK_MONOTONIC_RAW",
        "runs": [{"shapes": {"input_ids": [1, 16]}, "run": RUN}],
    }
    return {**whole, **changed}
