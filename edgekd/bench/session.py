"""Measuring on a host: send models and agent, run the processes in turns, bring home and check what they say.

One process at a time measures on a host, whoever started it: the agent holds a lock there, which ends with it. Each
process is a run of its own on the board (detached.py) that needs no link while it measures; a journal of such runs lets
a command that was killed take up those it had begun.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.detached import DetachedRun, Interrupted
from edgekd.bench.health import drift_warnings, host_warnings, warnings_for
from edgekd.bench.journal import Journal, key_of
from edgekd.bench.packed import packed_agent
from edgekd.bench.plan import BenchPlan
from edgekd.bench.results import AGENT_FORMAT, Result, impossible, results_from_bytes
from edgekd.errors import EdgekdError, HostError, InputError, MeasureError, SecurityError
from edgekd.files import sha256_of_bytes, sha256_of_file, write_bytes
from edgekd.hosts.base import Host
from edgekd.record import Artifact, LatencyRecord, PairedRecord, PairedRun, ProcessRun, Protocol

__all__ = ["BenchPlan", "artifact_from_file", "measure", "measure_pairs"]

DEFAULT_PAIRS = 12
# A short model may be timed this many times as often as was asked for, when the time that was asked for allows it.
MOST_PAIRS = 25
# Enough for another measurement's process of the usual length.
_LOCK_WAIT_S = 60.0
# Longer than any model takes to load or any inference to end; loading on a slow board has no bound of its own.
_STALL_S = 300.0
# A run ends at this number of samples, so that its result cannot be longer than we are ready to read.
_MAX_SAMPLES = 2_000_000
_BYTES_PER_SAMPLE = 24
_RESULT_SLACK_BYTES = 1 << 20
Progress = Callable[[int, int, Artifact], None]


def measure(
    host: Host,
    models: Sequence[tuple[Path, Artifact]],
    plan: BenchPlan,
    *,
    device: str | None = None,
    on_progress: Progress | None = None,
    journal: Journal | None = None,
) -> list[LatencyRecord]:
    """One record for each of `models`, in their order, each from `plan.processes` processes on `host`.

    The processes of several models take turns (A B, B A, A B, …), so that a slow drift of the board meets all alike.
    `on_progress` gets the number of finished processes, of all processes, and the artifact that was measured.
    The models stay on the host, so that measuring them again sends nothing. `journal` remembers what was begun and what
    came home, for the same call after a kill; whoever stores the records clears it.
    Errors: InputError for a model, shape or input that cannot be run; HostError for the board, RunError for a process
    that ended without a result; MeasureError for a result that cannot be true. Interrupted after Ctrl-C.
    """
    _require_models(models)
    agent = _sent_agent(host)
    sent = [_sent_model(host, path, artifact) for path, artifact in models]
    data = _sent_inputs(host, plan)
    results: list[list[Result]] = [[] for _ in models]
    done, total = 0, plan.processes * len(models)
    for turn in range(plan.processes):
        order = range(len(models)) if turn % 2 == 0 else reversed(range(len(models)))
        for index in order:
            artifact = models[index][1]
            spec = {
                **_plain_orders(plan),
                "models": [{"path": sent[index], "dims": dict(plan.dims)}],
                "input_data": data,
            }
            results[index] += _run_agent(host, agent, spec, plan, artifact.name, journal, [turn, index])
            done += 1
            if on_progress is not None:
                on_progress(done, total, artifact)
    pairs = zip(models, results, strict=True)
    try:
        return [_latency_record(artifact, found, plan, device) for (_, artifact), found in pairs]
    except MeasureError:
        # Results that make no record together would not make one the next time.
        if journal is not None:
            journal.clear()
        raise


def measure_pairs(
    host: Host,
    models: Sequence[tuple[Path, Artifact]],
    sentinel: Path,
    plan: BenchPlan,
    *,
    pairs: int = DEFAULT_PAIRS,
    least_s: float = 0.0,
    energy_s: float = 0.0,
    together: int = 1,
    dims: Sequence[Mapping[str, int]] | None = None,
    device: str | None = None,
    on_record: Callable[[PairedRecord], None] | None = None,
    journal: Journal | None = None,
) -> list[PairedRecord]:
    """One record for each of `models`, in their order, each timed in turns with `sentinel` in a process of its own.

    A model is timed for `pairs` pairs and for `least_s` seconds at least; then, on a board with rails, it runs alone
    for `energy_s` more to tell the energy of an inference. `together` models are sent and ordered at
    once, which spares a slow board the start of Python for each. The same model may be named several times; `dims`
    gives each sizes of its own in the place of the plan's.
    `on_record` gets each record as soon as it exists, so that an interruption loses one order at most.
    Each model is removed from the host after its order, however that ended; sentinel and inputs stay for the next.
    `journal` and errors: as measure.
    """
    _require_models(models)
    if pairs < 1 or together < 1:
        raise InputError(f"bench plan: pairs is {pairs} and together {together}, expected at least 1 for both")
    agent = _sent_agent(host)
    reference = artifact_from_file(sentinel)
    sent_sentinel = _sent_model(host, sentinel, reference)
    orders = {
        **plan.spec(),
        "mode": "paired",
        "sentinel": sent_sentinel,
        "pairs": pairs,
        "max_pairs": MOST_PAIRS * pairs,
        "min_duration_s": least_s,
        "energy_s": energy_s,
        "input_data": _sent_inputs(host, plan),
    }
    sizes = [dict(plan.dims)] * len(models) if dims is None else [dict(one) for one in dims]
    records = []
    for start in range(0, len(models), together):
        part = models[start : start + together]
        results = _ordered(host, agent, part, sizes[start : start + together], orders, plan, journal, start)
        for (_, artifact), result in zip(part, results, strict=True):
            record = _paired_record(artifact, reference, result, plan, pairs=pairs, device=device)
            records.append(record)
            if on_record is not None:
                on_record(record)
    return records


def _ordered(
    host: Host,
    agent: str,
    models: Sequence[tuple[Path, Artifact]],
    sizes: Sequence[dict[str, int]],
    orders: dict[str, Any],
    plan: BenchPlan,
    journal: Journal | None,
    start: int,
) -> list[Result]:
    """A result for each of `models` from one call of the agent; the models are on the host meanwhile only."""
    places = [_model_place(artifact) for _, artifact in models]
    goes_on = False
    try:
        for path, artifact in models:
            _sent_model(host, path, artifact)
        names = ", ".join(dict.fromkeys(artifact.name for _, artifact in models))
        entries = [{"path": place, "dims": own} for place, own in zip(places, sizes, strict=True)]
        return _run_agent(host, agent, {**orders, "models": entries}, plan, names, journal, [start, names])
    except (EdgekdError, Interrupted) as error:
        goes_on = _goes_on(error)
        raise
    finally:
        # A run that goes on without us still has to load them.
        for place in set() if goes_on else set(places) - {orders["sentinel"]}:
            with contextlib.suppress(HostError):
                host.remove(place)


def _require_models(models: Sequence[tuple[Path, Artifact]]) -> None:
    if not models:
        raise InputError("no model to measure, expected at least one ONNX file")


def _sent_agent(host: Host) -> str:
    data = packed_agent()
    place = f"blobs/{sha256_of_bytes(data)}.pyz"
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        write_bytes(Path(folder) / "agent.pyz", data)
        host.put(Path(folder) / "agent.pyz", place)
    return place


def _plain_orders(plan: BenchPlan) -> dict[str, Any]:
    # The warm-up may take half of the samples, and must leave as many as the plan wants.
    return {**plan.spec(), "mode": "plain", "max_samples": max(_MAX_SAMPLES, 2 * plan.min_samples)}


def _model_place(artifact: Artifact) -> str:
    return f"blobs/{artifact.sha256}.onnx"


def _sent_model(host: Host, path: Path, artifact: Artifact) -> str:
    """The model's place on the host. Errors: InputError when the file is no longer the artifact."""
    if sha256_of_file(path) != artifact.sha256:
        raise InputError(f"{path}: changed after it was named {artifact.name} ({artifact.sha256[:12]}…). Start again")
    place = _model_place(artifact)
    host.put(path, place)
    return place


def _sent_inputs(host: Host, plan: BenchPlan) -> str | None:
    if plan.input_data is None:
        return None
    place = f"blobs/{sha256_of_file(plan.input_data)}.npz"
    host.put(plan.input_data, place)
    return place


def _run_agent(
    host: Host, agent: str, spec: dict[str, Any], plan: BenchPlan, name: str, journal: Journal | None, turn: object
) -> list[Result]:
    """One call of the agent, from its orders to a checked result for each model; its files there are removed.

    `turn` tells this call from others with the same orders.
    """
    journal, where = journal or Journal(), f"{host.name}: {name}"
    total_s = len(spec["models"]) * plan.timeout_s
    limits = {"lock_wait_s": _LOCK_WAIT_S, "total_s": total_s, "stall_s": _STALL_S}
    orders = {**spec, "format": AGENT_FORMAT, **limits}
    key = key_of(host.name, agent, orders, turn)
    run = DetachedRun(host, agent, journal.run_of(key), where)
    try:
        kept = journal.kept(key)
        if kept is None:
            kept = run.result(orders, max_bytes=_max_result_bytes(spec), limit_s=_LOCK_WAIT_S + total_s)
            journal.keep(key, run.run, kept)
        run.remove()
        return results_from_bytes(kept.data, where, host.name, expected=len(spec["models"]), samples=kept.samples)
    except (EdgekdError, Interrupted) as error:
        if not _goes_on(error):
            journal.forget(key)
        raise


def _goes_on(error: EdgekdError | Interrupted) -> bool:
    """Whether a run goes on there, to be found again."""
    if isinstance(error, Interrupted):
        return error.goes_on
    return isinstance(error, SecurityError) or getattr(error, "state", None) == "UNREACHABLE"


def _max_result_bytes(spec: dict[str, Any]) -> int:
    """More than an honest result of `spec` can take: 19 digits and a separator for each of its times, and the rest."""
    times = spec["max_samples"] if spec["mode"] == "plain" else 2 * spec["max_pairs"] + 1
    return len(spec["models"]) * int(times) * _BYTES_PER_SAMPLE + _RESULT_SLACK_BYTES


def _latency_record(
    artifact: Artifact, results: Sequence[Result], plan: BenchPlan, device: str | None
) -> LatencyRecord:
    first, last = results[0], results[-1]
    where = f"{first.host.name}: {artifact.name}"
    for result in results:
        if (result.runtime, result.shapes, result.host.boot_id) != (first.runtime, first.shapes, first.host.boot_id):
            raise MeasureError(f"{where}: the board rebooted or changed its runtime between processes. Measure again")
    try:
        runs = [ProcessRun.model_validate(result.run) for result in results]
    except ValidationError as problems:
        raise impossible(where, problems) from None
    facts = first.host.model_copy(
        update={
            "load_after": last.host.load_after,
            "temperature_c_after": last.host.temperature_c_after,
            "throttled_after": last.host.throttled_after,
            "vitals": [vitals for result in results for vitals in result.host.vitals],
        }
    )
    return LatencyRecord(
        artifact=artifact,
        created_utc=_now_utc(),
        warnings=warnings_for(facts, runs, min_samples=plan.min_samples),
        device=device,
        host=facts,
        runtime=first.runtime,
        protocol=Protocol(
            shapes=first.shapes,
            processes=plan.processes,
            warmup_s=plan.warmup_s,
            min_duration_s=plan.min_duration_s,
            min_samples=plan.min_samples,
            clock=first.clock,
        ),
        runs=runs,
    )


def _paired_record(
    artifact: Artifact, sentinel: Artifact, result: Result, plan: BenchPlan, *, pairs: int, device: str | None
) -> PairedRecord:
    try:
        run = PairedRun.model_validate(result.run)
    except ValidationError as problems:
        raise impossible(f"{result.host.name}: {artifact.name}", problems) from None
    return PairedRecord(
        artifact=artifact,
        created_utc=_now_utc(),
        warnings=[*drift_warnings([run.sentinel_ns]), *host_warnings(result.host)],
        device=device,
        host=result.host,
        runtime=result.runtime,
        protocol=Protocol(
            shapes=result.shapes,
            processes=1,
            warmup_s=plan.warmup_s,
            min_duration_s=0.0,
            min_samples=pairs,
            clock=result.clock,
        ),
        sentinel_sha256=sentinel.sha256,
        run=run,
    )


def _now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
