"""The step bench and the verb bench: raw latencies of exported models, from the host to record files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.journal import Journal
from edgekd.bench.plan import BenchPlan
from edgekd.bench.reopen import Reopening
from edgekd.bench.session import measure
from edgekd.device import load_profile
from edgekd.errors import InputError, UnitError
from edgekd.export.manifest import artifact, verify
from edgekd.files import make_folder, read_json, write_error
from edgekd.hosts.open import open_target
from edgekd.hosts.resolve import targets_from_text
from edgekd.hosts.target import Target
from edgekd.pipeline.context import ARTIFACTS, RECORDS, TEACHER_JSON, Context, Done, machine_facts, require_isa
from edgekd.record import Artifact, LatencyRecord, write_record
from edgekd.units import duration_s_from_text

JOURNAL = "runs"
LONGEST_FACTOR = 30  # a process may take this many times its least duration to reach its least number of samples


def bench_plan(context: Context, vocabulary: int, sequence: int | None = None) -> BenchPlan:
    """The recipe's protocol. Token ids are drawn below `vocabulary`, as real text would be spread over the table.

    Shapes: `sequence` tokens per input, those of the chosen student unless told otherwise.
    """
    bench = context.recipe.bench
    return BenchPlan(
        threads=bench.threads,
        processes=bench.processes,
        warmup_s=bench.warmup,
        min_duration_s=bench.duration,
        min_samples=bench.samples,
        max_duration_s=max(bench.duration * LONGEST_FACTOR, 60.0),
        dims={"batch": bench.batch, "sequence": context.sequence if sequence is None else sequence},
        id_limit=max(vocabulary, 2),
        tune=bench.tune,
    )


def vocabulary_of(context: Context) -> int:
    """Token ids of the teacher; 0 for images."""
    return int(read_json(context.path(TEACHER_JSON))["spec"]["vocabulary"])


def inputs(context: Context) -> Any:
    """The artifacts, the protocol, the host and the device."""
    recipe = context.recipe
    files = {name: digest for name, digest in context.left_by("export").items() if name.startswith(f"{ARTIFACTS}/")}
    bench, host = recipe.bench.model_dump(mode="json"), recipe.host.model_dump(mode="json")
    return [files, bench, context.sequence, host, machine_facts(recipe.host, context.base), recipe.device]


def work(context: Context, scratch: Path) -> Done:
    """Measure every artifact of the manifest, the teacher's too, in turns: records/latency-*.json.

    What was begun on the board is remembered in `scratch`, which the pipeline removes when the step has ended.
    """
    folder = make_folder(context.path(RECORDS))
    for old in folder.glob("latency-*.json"):
        old.unlink()
    manifest = verify(context.path(ARTIFACTS))
    models = [(context.path(ARTIFACTS, entry.file), artifact(entry)) for entry in manifest.entries]

    def show(done: int, total: int, measured: Artifact) -> None:
        context.progress.update(f"measuring {measured.name}, process {done} of {total}", done / total)

    context.progress.update("reaching the host")
    with context.open_host() as host:
        plan = bench_plan(context, vocabulary_of(context))
        journal = Journal(scratch / JOURNAL)
        found = measure(host, models, plan, device=context.recipe.device, on_progress=show, journal=journal)
    paths = []
    for record in found:
        path = folder / f"latency-{record.artifact.name}.json"
        write_record(record, path)
        paths.append(path)
    samples = sum(len(record.samples_ns) for record in found)
    name = found[0].host.name
    return Done(tuple(paths), f"{samples} samples of {len(found)} artifacts on {name}")


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What `edgekd bench MODEL.onnx` was asked for; durations as text with their unit."""

    model: Path
    url: str
    key: Path | None
    known_hosts: Path | None
    python: str | None
    out: Path | None
    shapes: tuple[str, ...]
    batch: int
    sequence: int
    inputs: Path | None
    id_limit: int
    threads: int
    processes: int
    warmup: str
    duration: str
    samples: int
    hosts: Path | None = None
    tune: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be carried out, as far as can be said before a board is reached."""

    named: Artifact
    plan: BenchPlan


def asked(request: BenchRequest) -> Asked:
    """The model and the protocol of `request`. Errors: InputError."""
    named = artifact_from_file(request.model)
    duration_s = _duration("--duration", request.duration)
    plan = BenchPlan(
        threads=request.threads,
        processes=request.processes,
        warmup_s=_duration("--warmup", request.warmup),
        min_duration_s=duration_s,
        min_samples=request.samples,
        max_duration_s=max(duration_s * LONGEST_FACTOR, 60.0),
        dims={"batch": request.batch, "batch_size": request.batch, "sequence": request.sequence,
              "sequence_length": request.sequence, "seq_len": request.sequence},
        shapes=dict(_shape(text) for text in request.shapes),
        id_limit=request.id_limit,
        input_data=request.inputs,
        tune=request.tune,
    )  # fmt: skip
    return Asked(named, plan)


def boards_of(request: BenchRequest) -> list[Target]:
    """The boards that `request` names. Errors: InputError, HostsError, SecurityError."""
    return targets_from_text(
        request.url,
        hosts=request.hosts,
        key=request.key,
        known_hosts=request.known_hosts,
        python=request.python,
    )


def bench_file(request: BenchRequest) -> tuple[Path, LatencyRecord]:
    """Measure any ONNX file on a host and store the record. Errors: InputError, HostError, MeasureError."""
    wanted = asked(request)
    boards = boards_of(request)
    if len(boards) != 1:
        raise InputError(f"--host {request.url}: found {len(boards)} boards, expected one")
    path = target_file(request.out, wanted.named.name)
    return path, bench_on(boards[0], request.model, wanted, path)


def bench_on(
    board: Target,
    model: Path,
    wanted: Asked,
    path: Path,
    on_progress: Callable[[int, int, Artifact], None] | None = None,
    stop: threading.Event | None = None,
) -> LatencyRecord:
    """The record of `model` on one board, stored at `path`; runs that a killed command left there are taken up again.

    Once `stop` is set, it ends as after Ctrl-C: with KeyboardInterrupt, and the run on the board cancelled.
    Errors: InputError, also for a board that is not the device it is called; HostError, MeasureError, SecurityError.
    """
    journal = Journal(path.parent / f".{path.stem}.runs")
    with Reopening(lambda: open_target(board), stop=stop) as host:
        if board.device is not None:
            require_isa(host, load_profile(board.device), "Name another in hosts.yaml")
        models = [(model, wanted.named)]
        (record,) = measure(host, models, wanted.plan, device=board.device, on_progress=on_progress, journal=journal)
    write_record(record, path)
    journal.clear()
    return record


def target_file(out: Path | None, name: str) -> Path:
    """Where the record goes, checked before minutes are spent on measuring."""
    file = f"{name.removesuffix('.onnx')}.json"
    folder = Path("records") if out is None else out
    target = folder if folder.suffix == ".json" else folder / file
    make_folder(target.parent)
    if not os.access(target.parent, os.W_OK):
        raise write_error(target, PermissionError())
    return target


def _duration(flag: str, text: str) -> float:
    try:
        return duration_s_from_text(text)
    except UnitError as error:
        raise InputError(f"{flag}: {error}") from None


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.partition("=")
    parts = sizes.split("x")
    if not equals or not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--shape {text}: expected INPUT=SIZExSIZE, such as input_ids=1x64")
    return name, tuple(int(part) for part in parts)
