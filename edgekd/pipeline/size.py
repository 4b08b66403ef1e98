"""The step size: which students fit, with a few of them measured untrained on the host."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.campaign import Campaign, Measured, answer
from edgekd.bench.ratio import relative_latency
from edgekd.cost.stored import read_calibrations
from edgekd.errors import ProfileError
from edgekd.files import make_folder, read_json, write_text
from edgekd.pipeline.attempts import Loop, opened
from edgekd.pipeline.context import (
    CALIBRATION,
    SIZING_JSON,
    STUDENTS_JSON,
    TEACHER,
    TEACHER_JSON,
    Context,
    Done,
    file_facts,
    inputs_hash,
    machine_facts,
)
from edgekd.pipeline.measure import bench_plan
from edgekd.pipeline.trials import Trialler, trial_inputs
from edgekd.record import Artifact, PairedRecord
from edgekd.sizing.attempts import NOTHING
from edgekd.student import Candidate, StudentSpec
from edgekd.units import text_from_s, text_from_share

if TYPE_CHECKING:
    from edgekd.bench.energy import Energy
    from edgekd.export.template import GraphTemplate
    from edgekd.hosts.base import Host
    from edgekd.sizing.forecast import Fits, Measurement
    from edgekd.sizing.quality import Trials
    from edgekd.sizing.search import Sizing

KEY_FILE = "inputs.txt"
TRIAL_KEYS = {"trials", "trial_budget", "storage"}  # of the section search
NORMAL_95 = 1.96
LEAST_VISIT_S = 0.15  # our choice: with three visits each, about half a second of pairs for a candidate
WARMUP_S = 0.1


def inputs(context: Context) -> Any:
    """The teacher's dimensions, the space, the limits, the device, how the host is measured, any trials, attempts."""
    learned = loop_of(context).learned
    return [*_first_inputs(context), *([] if learned == NOTHING else [learned.model_dump(mode="json")])]


def loop_of(context: Context) -> Loop:
    """Where the attempts of this run stand; see edgekd.pipeline.attempts. Errors: InputError, RecordError."""
    return opened(context, _first_inputs(context))


def _first_inputs(context: Context) -> Any:
    recipe = context.recipe
    left_out = {"search": TRIAL_KEYS}
    sections = [
        getattr(recipe, name).model_dump(mode="json", exclude=left_out.get(name))
        for name in ("space", "sla", "search", "host", "bench")
    ]
    return [
        _teacher_spec(context).to_dict(),
        sections,
        _measured_with(context),
        context.profile.model_dump(mode="json"),
        _calibration_facts(context),
        *([trial_inputs(context)] if recipe.search.trials else []),
    ]


def _calibration_facts(context: Context) -> Any:
    """What identifies the calibration of the device. Errors: ProfileError where its file is not there."""
    named = context.profile.calibration
    if named is None:
        return None
    if not Path(named).is_file():
        raise ProfileError(
            f"{context.recipe.device}: names the calibration {named}, and there is no such file. Put it back beside "
            "the profile, make it again with edgekd devices calibrate, or remove the line from the profile"
        )
    return file_facts(Path(named))


def _measured_with(context: Context) -> Any:
    """What a calibration record depends on; the space and the limits may change without measuring again."""
    recipe = context.recipe
    host, bench = recipe.host.model_dump(mode="json"), recipe.bench
    teacher = {name: digest for name, digest in context.left_by("teacher").items() if name == f"{TEACHER}/config.json"}
    machine = machine_facts(recipe.host, context.base)
    # Of several lengths of input, each candidate's record is named by its own.
    sequence = recipe.sequence if recipe.space.sequence is None else "each its own"
    facts = [host, machine, bench.batch, bench.threads, sequence, recipe.search.pairs, recipe.precisions, teacher]
    return [*facts, "tuned"] if bench.tune else facts


def _teacher_spec(context: Context) -> StudentSpec:
    return StudentSpec.from_dict(read_json(context.path(TEACHER_JSON))["spec"])


def work(context: Context, scratch: Path) -> Done:
    """Write students.json, sizing.json and calibration/*.json."""
    from edgekd.sizing.writing import write_sizing, write_students

    found, loop = sizing(context, scratch), loop_of(context)
    lacking = loop.lacking(found.chosen) if loop.learned.aim else None
    if lacking is not None:
        return Done((), loop.without(lacking), lacking)
    write_sizing(found, context.path(SIZING_JSON))
    write_students(found, context.path(STUDENTS_JSON))
    return Done((context.path(CALIBRATION), context.path(SIZING_JSON), context.path(STUDENTS_JSON)), _summary(found))


def sizing(context: Context, scratch: Path) -> Sizing:
    """The search of the recipe on its host; what was measured lies in calibration/, and is not measured again.

    Errors: as sizing.search.size, and HostError.
    """
    from edgekd.sizing.search import size

    recipe = context.recipe
    folder = context.path(CALIBRATION)
    key = inputs_hash(_measured_with(context))
    if not (folder / KEY_FILE).is_file() or (folder / KEY_FILE).read_text(encoding="utf-8").strip() != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / KEY_FILE, key + "\n")
    teacher = _teacher_spec(context)
    yardstick = Yardstick(context, folder, make_folder(scratch), teacher)
    return size(
        teacher, recipe.space, recipe.sla, context.profile, recipe.search, precisions=recipe.precisions,
        batch=recipe.bench.batch, sequence=recipe.sequence, threads=recipe.bench.threads, measure=yardstick.measured,
        known=known_fits(context, teacher), learned=loop_of(context).learned,
        try_out=Trialler(context, scratch) if recipe.search.trials else None,
    )  # fmt: skip


def known_fits(context: Context, teacher: StudentSpec) -> dict[str, Fits]:
    """What the device's calibration knows of such students, by precision. Errors: InputError, RecordError.

    One that was made with another batch serves where there is none with the recipe's: the terms grow with the batch,
    and what is measured now carries the prices over. With other threads everything costs otherwise.
    """
    from edgekd.sizing.forecast import Fits

    if context.profile.calibration is None:
        return {}
    bench = context.recipe.bench
    usable = [
        one
        for one in read_calibrations(Path(context.profile.calibration))
        if (one.architecture, one.phase, one.threads) == (teacher.architecture, "whole", bench.threads)
    ]
    usable.sort(key=lambda one: abs(math.log(one.batch / bench.batch)), reverse=True)
    return {one.precision: Fits(one.latency_fit, one.memory_fit, energy=one.energy_fit) for one in usable}


def _summary(found: Sizing) -> str:
    number = found.considered if found.possible is None else found.possible
    many = f"{number} {'combinations' if found.possible is None else 'students'}"
    if found.chosen is None:
        why = found.obstacle.text.splitlines()[0] if found.obstacle else found.reason
        return f"{many}, none fits: {why}"
    share = text_from_share(found.chosen.share)
    times = [
        f"{text_from_s(found.measurements[candidate.name].latency_s)} {candidate.precision}"
        for candidate in found.chosen.candidates
        if candidate.name in found.measurements
    ]
    known = f", {', '.join(times)} untrained" if times else ""
    if found.error is not None:
        off = [text_from_share(error) for error in (found.error.median, found.error.worst)]
        known += f"; finalists were predicted to {off[0]} (worst {off[1]})"
    if found.trials is not None:
        known += f"; {_trials_text(found.trials)}"
    return f"{many}, {found.chosen.name} chosen: {share} of the teacher's parameters{known}"


def _trials_text(trials: Trials) -> str:
    number = len(trials.students)
    said = f"{number} {'student was' if number == 1 else 'students were'} tried in {text_from_s(trials.seconds)}"
    return f"{said}; out of time, the best known was taken (raise search.trial_budget)" if trials.cut else said


@dataclass
class Yardstick:
    """Untrained candidates measured on the host in pairs with the sentinel; a record that exists is not made again.

    The same candidate may be asked for again, to confirm a doubtful time: each asking has records of its own, so a run
    that was killed and goes on asks the same questions and finds the same answers. What disturbed the board is judged
    from all visits so far, so all seconds stand on the same scale.
    """

    context: Context
    folder: Path
    scratch: Path
    teacher: StudentSpec
    asked: dict[str, int] = field(default_factory=dict)
    records: list[PairedRecord] = field(default_factory=list)
    _templates: dict[str, GraphTemplate] = field(default_factory=dict)

    def measured(self, candidates: Sequence[Candidate]) -> Mapping[str, Measurement]:
        """A measurement for each of `candidates`, by name. Errors: HostError, MeasureError, ExportError."""
        groups: dict[int, list[str]] = {}
        for candidate in candidates:
            before = self.asked.get(candidate.name, 0)
            self.asked[candidate.name] = before + 1
            groups.setdefault(before, []).append(candidate.name)
        by_name = {candidate.name: candidate for candidate in candidates}
        found: list[PairedRecord] = []
        with self.context.open_host() as host:
            for before, names in groups.items():
                found += self._campaign(host, by_name, before).records(names)[0]
        self.records += found
        measured = answer(self.records, 0).measured
        own: dict[str, list[PairedRecord]] = {}
        for record in found:
            own.setdefault(record.artifact.name, []).append(record)
        return {name: _measurement(measured[name], own[name]) for name in by_name}

    def _campaign(self, host: Host, candidates: Mapping[str, Candidate], before: int) -> Campaign:
        from edgekd.bench.sentinel import sentinel_model

        recipe = self.context.recipe
        plan = replace(
            bench_plan(self.context, self.teacher.vocabulary, recipe.sequence),
            warmup_s=min(recipe.bench.warmup, WARMUP_S),
        )

        def model(name: str) -> tuple[Path, Artifact]:
            candidate = candidates[name]
            path = self._written(candidate)
            return path, artifact_from_file(path, name=name, precision=candidate.precision, role="student")

        def dims(name: str) -> Mapping[str, int]:
            return {"batch": recipe.bench.batch, "sequence": candidates[name].sequence or recipe.sequence}

        return Campaign(
            host, sentinel_model(self.scratch / "sentinel.onnx"), plan, self.folder, model, pairs=recipe.search.pairs,
            dims=dims, first=before, least_s=LEAST_VISIT_S, device=recipe.device,
            progress=lambda done, total, text: self.context.progress.update(text, done / total if total else None),
        )  # fmt: skip

    def _written(self, candidate: Candidate) -> Path:
        """The untrained model as ONNX, from a graph that was learned once where that is possible."""
        path = self.scratch / f"{candidate.spec.name}-{candidate.precision}.onnx"
        if path.exists():
            return path
        from edgekd.export.template import learn
        from edgekd.students.build import build
        from edgekd.students.source import load_config

        precision = candidate.precision
        kind: Literal["image", "text"] = "image" if candidate.spec.family == "vit" else "text"
        if precision not in self._templates:
            config = load_config(str(self.context.path(TEACHER)))
            self.context.progress.update(f"learning how {self.teacher.architecture} is exported in {precision}")
            self._templates[precision] = learn(
                self.teacher, lambda spec: build(spec, config, seed=0), kind=kind, precision=precision
            )
        self._templates[precision].write(candidate.spec, path)
        return path


def _measurement(measured: Measured, records: Sequence[PairedRecord]) -> Measurement:
    """The undisturbed seconds with their 95 % bounds, and how single inferences scattered."""
    from edgekd.sizing.forecast import Measurement

    error = NORMAL_95 * measured.error
    energy = {} if measured.energy is None else _energy(measured.energy)
    spreads = [found.spread / found.ratio for found in (relative_latency(record.run) for record in records)]
    return Measurement(
        latency_s=measured.latency_s,
        spread=median(spreads),
        low_s=measured.latency_s / (1 + error),
        high_s=measured.latency_s * (1 + error),
        peak_memory_bytes=measured.peak_memory_bytes,
        size_bytes=measured.size_bytes,
        **energy,
    )


def _energy(found: Energy) -> dict[str, Any]:
    """The fields of a measurement that a rail told, with their 95 % bounds."""
    error = NORMAL_95 * found.error
    low_j, high_j = found.value_j / (1 + error), found.value_j * (1 + error)
    return {"energy_j": found.value_j, "energy_low_j": low_j, "energy_high_j": high_j, "rail": found.rail}
