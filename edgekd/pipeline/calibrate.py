"""`edgekd devices calibrate`: prices of the terms of a latency on one board, from untrained students measured there."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.campaign import Answer, Campaign, Measured
from edgekd.bench.plan import BenchPlan
from edgekd.bench.reopen import Reopening
from edgekd.bench.windows import Curve, Level, Window
from edgekd.cost.calibrate import LEAST_SAMPLES, ONE, Fit, Sample, fit
from edgekd.cost.energy import energy_features, energy_fit
from edgekd.cost.stored import (
    Calibration,
    LeftOut,
    SentinelLevel,
    SizeSensitivity,
    read_calibrations,
    with_calibration,
    write_calibrations,
)
from edgekd.cost.tails import TAILS
from edgekd.cost.terms import BACKBONE, BLOCKED, BLOCKED_BACKBONE, BLOCKED_TERMS, TERMS, priceable
from edgekd.device import load_profile, profile_text
from edgekd.errors import InputError, UnitError
from edgekd.files import content_hash, make_folder, write_text
from edgekd.host_choice import HostChoice
from edgekd.pipeline.context import Progress, Silent, machine_facts, open_choice, require_isa
from edgekd.pipeline.ledger import locked
from edgekd.pipeline.pool import Pool, Reference, reference_of
from edgekd.pipeline.usual import CONVOLUTIONAL, Phase
from edgekd.record import PairedRecord, read_record
from edgekd.student import PRECISIONS, Precision
from edgekd.text import listing, printable
from edgekd.units import duration_s_from_text, text_from_s

if TYPE_CHECKING:
    from edgekd.hosts.base import Host
    from edgekd.record import Artifact

PROFILE_YAML, CALIBRATION_JSON, VISITS = "profile.yaml", "calibration.json", "visits"
MEMORY_TERMS = (ONE, "weight_bytes", "peak_activation_bytes")
USUAL: tuple[Precision, ...] = ("fp32", "int8")
PAIRS = 12
LEAST_VISIT_S, LONGEST_VISIT_S = 0.3, 20.0
WARMUP_S = 0.1
# So much does a whole campaign differ from another, besides what a fit leaves: in nine of ten cases of
# benchmarks/results/predictor_live the `bias` of all unseen students together is less.
CAMPAIGNS_DIFFER = 0.03
MOST_WINDOWS = 3  # named one by one
LEAST_STUDENTS = 8  # our choice: with fewer, leaving one out says little


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. `like` is a recipe or a family; without `sequences` those of the recipe count, or 64.

    `phase` is prefill or decode for language models; a length then counts tokens of the prompt, or in the cache.
    """

    host: HostChoice
    device: str
    like: str
    out: Path
    precisions: tuple[Precision, ...] = USUAL
    sequences: tuple[int, ...] = ()
    batch: int = 1
    threads: int = 1
    students: int = 20
    budget_s: float = 180.0
    phase: Phase = "whole"

    def __post_init__(self) -> None:
        if self.students < LEAST_STUDENTS:
            raise InputError(
                f"--students {self.students}: expected at least {LEAST_STUDENTS}, to leave one out of them"
            )
        if not self.budget_s > 0:
            raise InputError("--budget: found no time at all, expected some, such as '3 min'")
        if not self.precisions or len(set(self.precisions)) != len(self.precisions):
            found, known = listing(self.precisions) or "nothing", listing(PRECISIONS)
            raise InputError(f"--precision {found}: expected some of {known}, once each")


def request_from_text(
    url: str, device: str, like: str, out: Path, *, precisions: Sequence[str] | None, sequences: Sequence[int] | None,
    batch: int, threads: int, students: int, budget: str, key: str | None, known_hosts: str | None, python: str | None,
    phase: str = "whole", hosts: str | None = None,
) -> Request:  # fmt: skip
    """The request behind the options of the command line. Errors: InputError naming the option."""
    wanted: list[Precision] = []
    # Convolutions have no int8 of their own, so there fp32 is all of it.
    for word in precisions or (USUAL[:1] if like in CONVOLUTIONAL else USUAL):
        found = next((precision for precision in PRECISIONS if precision == word), None)
        if found is None:
            raise InputError(f"--precision {printable(word, 40)}: expected one of {listing(PRECISIONS)}")
        wanted.append(found)
    phases: tuple[Phase, ...] = get_args(Phase)
    named = next((one for one in phases if one == phase), None)
    if named is None:
        raise InputError(f"--phase {printable(phase, 40)}: expected one of {listing(phases)}")
    try:
        budget_s = duration_s_from_text(budget)
    except UnitError as error:
        raise InputError(f"--budget: {error}") from None
    choice = HostChoice(url=url, key=key, python=python, known_hosts=known_hosts, hosts=hosts)
    return Request(
        choice, device, like, out, tuple(wanted), tuple(sequences or ()), batch, threads, students, budget_s, named
    )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of it: the folder of the board, the calibrations that were made now, and of whom they were chosen."""

    folder: Path
    calibrations: tuple[Calibration, ...]
    answer: Answer
    pool: Pool


def calibrate(request: Request, *, base: Path, progress: Progress | None = None) -> Outcome:
    """Measure a designed choice of untrained students on the host, fit them, and store all of it in `request.out`.

    A call that was killed goes on with the visits it has. The folder holds profile.yaml, a copy of the device's profile
    that names the calibration, calibration.json, and the records. Relative paths start from `base`.
    Errors: InputError, ProfileError, HostError, MeasureError, ExportError, StorageError.
    """
    told = progress or Silent()
    profile = load_profile(request.device)
    reference = reference_of(request.like, base, request.sequences, request.phase)
    told.begin("calibrate", current=False)
    pool = Pool(reference, request.precisions, request.batch)
    names = [name for precision in request.precisions for name in pool.designed(precision, request.students)]
    folder = request.out
    _known(folder)
    with Reopening(lambda: open_choice(request.host, base)) as host:
        require_isa(host, profile, "Name another with --device")
        with locked(folder):
            visits = make_folder(folder / VISITS / _key(request, reference, base))
            answer = _measured(host, request, pool, names, visits, told)
            made = tuple(_calibration(request, pool, answer, one, visits, folder) for one in request.precisions)
            write_calibrations(with_calibration(_known(folder), made), folder / CALIBRATION_JSON)
            write_text(folder / PROFILE_YAML, profile_text(request.device, calibration=CALIBRATION_JSON))
    told.end("calibrate", f"{len(answer.measured)} students, {len(answer.visits)} visits, in {folder}")
    return Outcome(folder, made, answer, pool)


def _known(folder: Path) -> list[Calibration]:
    """The calibrations that the folder has already. Errors: InputError, RecordError."""
    return read_calibrations(folder / CALIBRATION_JSON) if (folder / CALIBRATION_JSON).exists() else []


def _key(request: Request, reference: Reference, base: Path) -> str:
    """The name of the folder of visits: one for each machine, reference, batch, number of threads and phase."""
    asked = [reference.spec.to_dict(), request.batch, request.threads]
    asked += [] if request.phase == "whole" else [request.phase]
    return content_hash([machine_facts(request.host, base), *asked])[:12]


def measured_on(request: Request, pool: Pool, names: Sequence[str], folder: Path, level: Level | None = None) -> Answer:
    """What a campaign of its own says of the candidates `names` on the host of `request`, stored in `folder`.

    `level` is that of the calibration that the answer is to be compared with.
    """
    unbounded = replace(request, budget_s=math.inf)
    with Reopening(lambda: open_choice(request.host, folder)) as host:
        return _measured(host, unbounded, pool, names, make_folder(folder), Silent(), level)


def level_of(calibration: Calibration) -> Level | None:
    """The undisturbed level of the board that `calibration` learned; None for files that did not keep it."""
    found = calibration.level
    if found is None:
        return None
    by_size = tuple((one.log_s, one.power) for one in found.by_size)
    return Level(Curve(found.low, found.rise, found.middle, found.floor), calibration.sensitivity, by_size)


def _measured(
    host: Host, request: Request, pool: Pool, names: Sequence[str], visits: Path, progress: Progress,
    level: Level | None = None,
) -> Answer:  # fmt: skip
    from edgekd.bench.sentinel import sentinel_model

    longest_s = request.budget_s / (3 * len(names))
    plan = BenchPlan(
        threads=request.threads, warmup_s=WARMUP_S, min_duration_s=0.0,
        max_duration_s=min(max(longest_s, 2 * LEAST_VISIT_S), LONGEST_VISIT_S), id_limit=max(pool.vocabulary, 2),
    )  # fmt: skip
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:

        @cache
        def model(name: str) -> tuple[Path, Artifact]:
            path, precision = pool.written(name, Path(scratch)), pool.precision(name)
            return path, artifact_from_file(path, name=name, precision=precision, role="student")

        for number, name in enumerate(names):
            progress.update(f"writing untrained {name}", number / len(names))
            model(name)
        campaign = Campaign(
            host, sentinel_model(Path(scratch) / "sentinel.onnx"), plan, visits, model, pairs=PAIRS, dims=pool.dims,
            level=level, least_s=LEAST_VISIT_S, budget_s=request.budget_s - (time.monotonic() - begun_s),
            device=request.device,
            progress=lambda done, total, text: progress.update(text, done / total if total else None),
        )  # fmt: skip
        return campaign.run(names)


def _calibration(
    request: Request, pool: Pool, answer: Answer, precision: Precision, visits: Path, folder: Path
) -> Calibration:
    own = {name: found for name, found in answer.measured.items() if pool.precision(name) == precision}
    features = {name: pool.features(name) for name in own}
    latency = [Sample(name, features[name], found.latency_s, found.error) for name, found in own.items()]
    memory = [
        Sample(name, features[name], found.peak_memory_bytes)
        for name, found in own.items()
        if found.peak_memory_bytes is not None
    ]
    fitted = latency_fit(latency)
    fitted = replace(fitted, half_width=math.hypot(fitted.half_width, CAMPAIGNS_DIFFER))
    curve, energy = answer.findings.curve, _energies(own, features)
    remembered = fit(memory, MEMORY_TERMS) if len(memory) >= LEAST_SAMPLES else None
    record = read_record(visits / f"{next(iter(own))}.1.json")
    assert isinstance(record, PairedRecord)  # noqa: S101  the campaign that made it has checked every one
    return Calibration(
        architecture=pool.reference.spec.architecture, phase=pool.reference.phase, precision=precision,
        batch=request.batch, threads=request.threads, sequences=list(pool.reference.sequences),
        measured=datetime.now(UTC).date().isoformat(), runtime=record.runtime,
        host=record.host.model_copy(update={"vitals": []}),
        quiet_sentinel_s=answer.quiet_s, quiet_error=answer.quiet_error, sensitivity=answer.findings.sensitivity,
        level=SentinelLevel(
            low=curve.low, rise=curve.rise, middle=curve.middle, floor=curve.floor,
            by_size=[SizeSensitivity(log_s=size, power=power) for size, power in answer.findings.by_size],
        ),
        latency=fitted.to_dict(), memory=None if remembered is None else remembered.to_dict(),
        energy=energy_fit(energy).to_dict() if energy else None, rail=_rail(own) if energy else None,
        energy_left_out=left_out(energy, energy_fit) if energy else None, left_out=left_out(latency),
        records=visits.relative_to(folder).as_posix(), notes=_notes(answer, fitted),
    )  # fmt: skip


def latency_fit(samples: Sequence[Sample]) -> Fit:
    """The fit of latencies, by TAILS as well where the samples have them.

    Of convolutions the one that left-out samples like best, with channels in blocks or not.
    """
    own = (TAILS,) if all(TAILS in sample.features for sample in samples) else ()
    known = [sample.features for sample in samples]
    plain = fit(samples, priceable((ONE, *TERMS, *own), known), BACKBONE)
    if not any(sample.features.get(name, 0) for sample in samples for name in BLOCKED.values()):
        return plain
    blocked = fit(samples, priceable((ONE, *BLOCKED_TERMS), known), BLOCKED_BACKBONE)
    return min(plain, blocked, key=lambda one: one.half_width)


def _energies(own: Mapping[str, Measured], features: Mapping[str, Mapping[str, float]]) -> list[Sample]:
    """The energies that rails told; none where they told too few to leave one out of them."""
    found = [
        Sample(name, energy_features(features[name], one.latency_s), one.energy.value_j, one.energy.error)
        for name, one in own.items()
        if one.energy is not None
    ]
    return found if len(found) >= LEAST_STUDENTS else []


def _rail(own: Mapping[str, Measured]) -> str:
    return next(one.energy.rail for one in own.values() if one.energy is not None)


def left_out(samples: Sequence[Sample], fitted: Callable[[Sequence[Sample]], Fit] = latency_fit) -> LeftOut:
    """How well each of `samples` is predicted by a fit to all others."""
    errors, inside = [], 0
    for index, sample in enumerate(samples):
        others = [*samples[:index], *samples[index + 1 :]]
        interval = fitted(others).predict(sample.features)
        errors.append(abs(math.log(sample.value / interval.mid)))
        inside += interval.low <= sample.value <= interval.high
    count = len(samples)
    return LeftOut(
        students=count,
        within_10=sum(error <= math.log(1.1) for error in errors) / count,
        within_5=sum(error <= math.log(1.05) for error in errors) / count,
        median_error=sorted(errors)[count // 2],
        covered=inside / count,
    )


def _notes(answer: Answer, fitted: Fit) -> list[str]:
    """What a reader must know of the circumstances."""
    notes = _window_notes(answer)
    if answer.repeated:
        notes.append(f"{answer.repeated} visits were made again because of what stood out")
    if answer.unsettled:
        notes.append(f"no undisturbed visit of {listing(answer.unsettled)}; disturbed ones were taken")
    if fitted.outliers:
        notes.append(f"set aside by the fit: {listing(fitted.outliers)}")
    return notes


def _window_notes(answer: Answer) -> list[str]:
    """Which visits ran slower: stretch by stretch, or all in one line where there are many."""
    windows, total = answer.findings.windows, len(answer.visits)
    if len(windows) > MOST_WINDOWS:
        count = sum(window.last - window.first + 1 for window in windows)
        least, most = min(window.slower for window in windows), max(window.slower for window in windows)
        told = [f"{count} of {total} visits, in {len(windows)} stretches, ran {least:.2f} to {most:.2f} times as slow"]
    else:
        told = [f"{_stretch(one)} of {total} ran {one.slower:.2f} times as slow" for one in windows]
    return [f"{one}; they count little, or not at all" for one in told]


def _stretch(window: Window) -> str:
    first, last = window.first + 1, window.last + 1
    return f"visit {first}" if first == last else f"visits {first} to {last}"


def _energy_line(found: LeftOut, rail: str | None) -> str:
    return (
        f"energy of an inference, from the rail {rail}: {found.students} students, each predicted by the others with "
        f"its own latency: {found.within_10:.0%} within 10 %, median error {found.median_error:.1%}; "
        f"{found.covered:.0%} inside their 90 % interval"
    )


def outcome_lines(outcome: Outcome) -> list[str]:
    """What a person wants to know of a calibration."""
    lines = []
    for one in outcome.calibrations:
        found = one.left_out
        words = [one.architecture, *([] if one.phase == "whole" else [one.phase]), one.precision]
        lines.append(
            f"{' '.join(words)}: {found.students} students, each predicted by the others: "
            f"{found.within_10:.0%} within 10 %, {found.within_5:.0%} within 5 %, median error "
            f"{found.median_error:.1%}; {found.covered:.0%} inside their 90 % interval"
        )
        lines += [] if one.energy_left_out is None else [_energy_line(one.energy_left_out, one.rail)]
    level = text_from_s(outcome.answer.quiet_s)
    lines.append(f"sentinel {level} when quiet, +-{outcome.answer.quiet_error:.1%}")
    lines += [f"note: {note}" for note in dict.fromkeys(note for one in outcome.calibrations for note in one.notes)]
    lines.append(f"use it in a recipe: device: {outcome.folder / PROFILE_YAML}")
    return lines
