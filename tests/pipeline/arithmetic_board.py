"""A board made of arithmetic for the tests of the loop: untrained students take what they weigh, trained ones more.

Distillation and export are the real ones; only the two places that would time a model on a host are replaced.
Also a program that kills itself: arithmetic_board.py ROOT SLOWER MODULE:FUNCTION:CALL OVERRIDE... dies as soon as that
call of the function has returned; with - in its place it comes to its end.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekd.bench.plan import BenchPlan
from edgekd.files import read_json
from edgekd.pipeline import measure, size
from edgekd.record import Artifact, HostFacts, LatencyRecord, ProcessRun, Protocol, Runtime
from edgekd.sizing.attempts import AttemptsFile, read_attempts
from edgekd.sizing.forecast import Measurement
from edgekd.student import Candidate, StudentSpec
from edgekd.vitals import Tick, Vitals

HOST = HostFacts(
    name="arithmetic", machine="x86_64", system="Linux", python="3.11", cores=2, affinity=[0], governor="performance"
)


ENERGY = ("energy_j", "energy_low_j", "energy_high_j")
SAMPLES, LOOKS, LOADING = 100, 5, 1.2


SPACE = (
    "space={layers: [1, 2], hidden: [16, 32], ffn: {from: 8, to: 64, step: 8}}",
    "search={calibrate: 6, finalists: 3, pairs: 5}",
)
LOOP = (*SPACE, "budget.attempts=3", "sla={latency: {p50: 1.1 ms}, memory: 2 GB, size: 4 MB, accuracy: 20 %}")


def attempts_of(root: Path) -> AttemptsFile:
    return read_attempts(root / "attempts.json")


def untrained_s(spec: StudentSpec) -> float:
    """100 ns for each weight in the layers: 1.6 ms for the largest student of the tiny teacher."""
    return 1e-7 * spec.layers * (4 * spec.hidden**2 + 2 * spec.hidden * spec.ffn)


def untrained(candidates: Sequence[Candidate], watts: float | None = None) -> Mapping[str, Measurement]:
    def energy(latency_s: float) -> dict[str, Any]:
        return {} if watts is None else {**dict.fromkeys(ENERGY, watts * latency_s), "rail": "VDD_IN"}

    return {
        each.name: Measurement(latency_s, 0.01, latency_s, latency_s, 50_000_000, 100_000, **energy(latency_s))
        for each in candidates
        for latency_s in [untrained_s(each.spec)]
    }


def trained(
    root: Path, slower: float, throttled: bool = False, watts: float | None = None
) -> Callable[..., list[LatencyRecord]]:
    """What stands in for bench.session.measure: the student in `root` takes `slower` times what sizing measured.

    On a board with a rail that gives `watts`, each process works for LOADING times as long as its inferences.
    """

    def measured(_host: Any, models: Sequence[tuple[Path, Artifact]], plan: BenchPlan, **_: Any) -> list[LatencyRecord]:
        spec = StudentSpec.from_dict(read_json(root / "student.json")["spec"])
        host = HOST.model_copy(update={"throttled_before": "0x4", "throttled_after": "0x4"}) if throttled else HOST
        latency_s = untrained_s(spec) * slower
        if watts is not None:
            seconds = [LOADING * latency_s * (SAMPLES + 1) * at / LOOKS for at in range(LOOKS + 1)]
            ticks = [Tick(at_s=at_s, rails_w={"VDD_IN": watts}) for at_s in seconds]
            host = host.model_copy(update={"vitals": [Vitals(cores=[0], ticks=ticks)] * plan.processes})
        return [_record(artifact, latency_s, plan, host) for _, artifact in models]

    return measured


def _record(artifact: Artifact, latency_s: float, plan: BenchPlan, host: HostFacts) -> LatencyRecord:
    samples = [round(latency_s * 1e9) + index % 7 for index in range(SAMPLES)]
    run = ProcessRun(
        load_ns=1, first_ns=samples[0], warmup_ns=[], samples_ns=samples, peak_memory_bytes=50_000_000,
        peak_memory_source="VmHWM",
    )  # fmt: skip
    return LatencyRecord(
        artifact=artifact, created_utc="2026-02-03T10:30:00+00:00", device="generic-x86-64", warnings=[], host=host,
        runtime=Runtime(name="onnxruntime", version="1", providers=["CPUExecutionProvider"], threads=1),
        protocol=Protocol(
            shapes={"pixel_values": [1, 1, 8, 8]}, processes=plan.processes, warmup_s=0.1, min_duration_s=0.1,
            min_samples=20,
        ),
        runs=[run.model_copy(update={"load_ns": number + 1}) for number in range(plan.processes)],
    )  # fmt: skip


@contextmanager
def board(root: Path, slower: float, throttled: bool = False, watts: float | None = None) -> Iterator[None]:
    """Inside: every student of the run in `root` is timed by arithmetic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size.Yardstick, "measured", lambda _self, candidates: untrained(candidates, watts))
        patch.setattr(measure, "measure", trained(root, slower, throttled, watts))
        yield


def main() -> None:
    from tiny_recipe import run_tiny

    root, slower, seam, *extra = sys.argv[1:]
    with board(Path(root), float(slower)), killed_at(seam):
        outcome, _ = run_tiny(Path(root), *extra)
    sys.exit(outcome.exit_code)


@contextmanager
def killed_at(seam: str) -> Iterator[None]:
    """Inside: SIGKILL after the call that `seam` names."""
    if seam == "-":
        yield
        return
    module, name, call = seam.split(":")
    place = importlib.import_module(module)
    real, calls = getattr(place, name), itertools.count(1)

    def dying(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        if next(calls) == int(call):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, dying)
        yield


if __name__ == "__main__":
    main()
