"""The step size: which students fit, with a few of them measured untrained on the host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekd.bench.artifact import artifact_from_file
from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import quiet_level_s, relative_latency, seconds_from_ratio
from edgekd.errors import RecordError
from edgekd.files import make_folder, read_json, write_text
from edgekd.pipeline.context import (
    CALIBRATION,
    SIZING_JSON,
    STUDENTS_JSON,
    TEACHER,
    TEACHER_JSON,
    Context,
    Done,
    inputs_hash,
    machine_facts,
)
from edgekd.pipeline.measure import bench_plan
from edgekd.record import PairedRecord, read_record, write_record
from edgekd.student import Candidate, StudentSpec
from edgekd.units import text_from_s, text_from_share

if TYPE_CHECKING:
    from edgekd.sizing.forecast import Measurement
    from edgekd.sizing.search import Sizing

KEY_FILE = "inputs.txt"
NORMAL_95 = 1.96


def inputs(context: Context) -> Any:
    """The teacher's dimensions, the space, the limits, the device and how the host is measured."""
    recipe = context.recipe
    sections = [getattr(recipe, name).model_dump(mode="json") for name in ("space", "sla", "search", "host", "bench")]
    return [
        _teacher_spec(context).to_dict(),
        sections,
        _measured_with(context),
        context.profile.model_dump(mode="json"),
    ]


def _measured_with(context: Context) -> Any:
    """What a calibration record depends on; the space and the limits may change without measuring again."""
    recipe = context.recipe
    host, bench = recipe.host.model_dump(mode="json"), recipe.bench
    teacher = {name: digest for name, digest in context.left_by("teacher").items() if name == f"{TEACHER}/config.json"}
    machine = machine_facts(recipe.host)
    return [host, machine, bench.batch, bench.threads, recipe.sequence, recipe.search.pairs, recipe.precisions, teacher]


def _teacher_spec(context: Context) -> StudentSpec:
    return StudentSpec.from_dict(read_json(context.path(TEACHER_JSON))["spec"])


def work(context: Context, scratch: Path) -> Done:
    """Write students.json, sizing.json and calibration/*.json."""
    from edgekd.sizing.search import size
    from edgekd.sizing.writing import write_sizing, write_students

    recipe = context.recipe
    folder = context.path(CALIBRATION)
    key = inputs_hash(_measured_with(context))
    if not (folder / KEY_FILE).is_file() or (folder / KEY_FILE).read_text(encoding="utf-8").strip() != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / KEY_FILE, key + "\n")
    teacher = _teacher_spec(context)
    yardstick = Yardstick(context, folder, make_folder(scratch), teacher)
    found = size(
        teacher, recipe.space, recipe.sla, context.profile, recipe.search, precisions=recipe.precisions,
        batch=recipe.bench.batch, sequence=recipe.sequence, threads=recipe.bench.threads, measure=yardstick.measured,
    )  # fmt: skip
    write_sizing(found, context.path(SIZING_JSON))
    write_students(found, context.path(STUDENTS_JSON))
    return Done((folder, context.path(SIZING_JSON), context.path(STUDENTS_JSON)), _summary(found))


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
    return f"{many}, {found.chosen.name} chosen: {share} of the teacher's parameters{known}"


@dataclass
class Yardstick:
    """Untrained candidates measured on the host in pairs with the sentinel; a record that exists is not made again.

    The same candidate may be asked for again, to confirm a doubtful time: each asking has a record of its own, so a
    run that was killed and goes on asks the same questions and finds the same answers.
    """

    context: Context
    folder: Path
    scratch: Path
    teacher: StudentSpec
    asked: dict[str, int] = field(default_factory=dict)
    quiet_s: float = 0.0

    def measured(self, candidates: Sequence[Candidate]) -> Mapping[str, Measurement]:
        """A measurement for each of `candidates`, by name. Errors: HostError, MeasureError, ExportError."""
        paths: dict[str, Path] = {}
        for candidate in candidates:
            self.asked[candidate.name] = self.asked.get(candidate.name, 0) + 1
            paths[candidate.name] = self.folder / f"{candidate.name}.{self.asked[candidate.name]}.json"
        missing = [candidate for candidate in candidates if not paths[candidate.name].exists()]
        if missing:
            self._measure(missing, paths)
        records = {name: _paired(path) for name, path in paths.items()}
        # One level for the whole search, from the first batch: all seconds then stand on the same scale.
        self.quiet_s = self.quiet_s or quiet_level_s([record.run for record in records.values()])
        return {name: _measurement(record, self.quiet_s) for name, record in records.items()}

    def _measure(self, candidates: Sequence[Candidate], paths: Mapping[str, Path]) -> None:
        from edgekd.bench.sentinel import sentinel_model
        from edgekd.bench.session import measure_pairs

        plan: BenchPlan = bench_plan(self.context, self.teacher.vocabulary)
        sentinel = sentinel_model(self.scratch / "sentinel.onnx")
        with self.context.open_host() as host:
            for number, candidate in enumerate(candidates):
                text = f"measuring untrained {candidate.name}"
                self.context.progress.update(text, number / len(candidates))
                model = self._exported(candidate)
                artifact = artifact_from_file(model, name=candidate.name, precision=candidate.precision, role="student")
                (record,) = measure_pairs(
                    host, [(model, artifact)], sentinel, plan, pairs=self.context.recipe.search.pairs,
                    device=self.context.recipe.device,
                )  # fmt: skip
                write_record(record, paths[candidate.name])

    def _exported(self, candidate: Candidate) -> Path:
        """The untrained model as ONNX; one export serves every precision."""
        from edgekd.export.onnx import export_onnx
        from edgekd.export.quantize import quantize_dynamic
        from edgekd.students.build import build
        from edgekd.students.source import load_config

        plain = self.scratch / f"{candidate.spec.name}-fp32.onnx"
        if not plain.exists():
            config = load_config(str(self.context.path(TEACHER)))
            kind: Literal["image", "text"] = "image" if candidate.spec.family == "vit" else "text"
            export_onnx(build(candidate.spec, config, seed=0), plain, kind=kind)
        if candidate.precision == "fp32":
            return plain
        quantized = self.scratch / f"{candidate.name}.onnx"
        if not quantized.exists():
            quantize_dynamic(plain, quantized)
        return quantized


def _paired(path: Path) -> PairedRecord:
    record = read_record(path)
    if not isinstance(record, PairedRecord):
        raise RecordError(
            f"{path}: is a record of kind {record.kind}, expected paired. Remove the folder and run again"
        )
    return record


def _measurement(record: PairedRecord, quiet_s: float) -> Measurement:
    """Seconds from the ratio to the sentinel, with the 95 % bounds of its median."""
    from edgekd.sizing.forecast import Measurement

    relative = relative_latency(record.run)
    latency_s = seconds_from_ratio(relative.ratio, quiet_s)
    error = NORMAL_95 * relative.error / relative.ratio
    return Measurement(
        latency_s=latency_s,
        spread=relative.spread / relative.ratio,
        low_s=latency_s / (1 + error),
        high_s=latency_s * (1 + error),
        peak_memory_bytes=record.run.peak_memory_bytes,
        size_bytes=record.artifact.size_bytes,
    )
