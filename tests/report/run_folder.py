"""Run folders as a run leaves them: sized and judged by the real parts, on a board made of arithmetic."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.device import load_profile
from edgekd.export.manifest import Entry, Manifest, ParityResult, Versions, write_manifest
from edgekd.files import make_folder, sha256_of_bytes, write_json
from edgekd.gate.files import write_verdict
from edgekd.gate.judge import judge
from edgekd.recipe import Recipe, load_recipe
from edgekd.record import (
    AccuracyRecord,
    Artifact,
    HostFacts,
    LatencyRecord,
    ProcessRun,
    Protocol,
    Runtime,
    write_record,
)
from edgekd.sizing.forecast import Measurement
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.quality import CurvePoint, Ended, Trials, Tried
from edgekd.sizing.search import Sizing, size
from edgekd.sizing.writing import write_sizing, write_students
from edgekd.student import Candidate, StudentSpec

STEPS = ("teacher", "size", "distill", "export", "bench", "gate")
TEACHER = StudentSpec(
    architecture="vit", layers=6, hidden=96, heads=6, ffn=384, labels=10, image_size=8, patch_size=2, channels=1
)
EXAMPLES = 360
GOVERNOR = (
    "governor: the processor's governor is 'ondemand', not 'performance'. "
    "On the board: sudo cpupower frequency-set -g performance."
)


def make_run(root: Path, *, until: str = "gate", overrides: Sequence[str] = (), samples: int = 400) -> Path:
    """A run folder that stopped after the step `until`."""
    recipe = load_recipe("quickstart", ["device=raspberry-pi-5", "host.url=ssh://pi@kitchen:22", *overrides])
    done = STEPS[: STEPS.index(until) + 1]
    make_folder(root)
    write_json(root / "recipe.json", recipe.model_dump(mode="json", by_alias=True, exclude_none=True))
    write_json(root / "teacher.json", teacher_table())
    write_json(root / "data.json", data_table())
    sizing = sized(recipe) if "size" in done else None
    if sizing is None:
        return root
    write_students(sizing, root / "students.json")
    write_sizing(sizing, root / "sizing.json")
    if sizing.chosen is None:
        return root
    if "distill" in done:
        write_json(root / "student.json", student_table(sizing.chosen.spec))
    if "export" in done:
        write_manifest(Manifest(entries=list(entries(sizing.chosen.spec))), make_folder(root / "artifacts"))
        for record in accuracy_records(sizing.chosen.spec):
            write_record(record, root / "records" / f"accuracy-{record.artifact.name}.json")
    if "bench" in done:
        for timed in latency_records(sizing.chosen.spec, samples):
            write_record(timed, root / "records" / f"latency-{timed.artifact.name}.json")
    if "gate" in done:
        records = [*latency_records(sizing.chosen.spec, samples), *accuracy_records(sizing.chosen.spec)]
        write_verdict(judge(records, recipe.sla), root / "verdict.json")
    return root


def sized(recipe: Recipe) -> Sizing:
    """What sizing decides on a board that is a little slower than a line through work and layers."""
    return size(
        TEACHER, recipe.space, recipe.sla, load_profile(recipe.device), recipe.search,
        precisions=recipe.precisions, batch=1, sequence=recipe.sequence, threads=1, measure=measure,
        try_out=tried if recipe.search.trials else None,
    )  # fmt: skip


def tried(students: Sequence[PricedStudent]) -> Trials:
    """Trials whose losses fall by a power law of the steps: the deeper the student, the lower it comes."""
    ends = sorted(students, key=lambda student: -student.spec.layers)
    found, rungs = {}, (40, 120)
    for place, student in enumerate(ends):
        rng = np.random.default_rng(place)
        on = place < -(-len(ends) // 3)
        ended: Ended = "finished" if on else "pruned" if place == len(ends) - 1 else "halved"
        steps = range(10, {"finished": 121, "halved": 41, "pruned": 31}[ended], 10)
        curve = tuple(CurvePoint(step, 0.3 + 0.06 * place + 4 * step**-0.6, 0.9 - 0.02 * place) for step in steps)
        rung = None if ended == "pruned" else int(on)
        losses = curve[-1].loss + rng.normal(0, 0.01, 144)
        told = (None, None) if rung is None else (curve[-1].loss, curve[-1].accuracy)
        found[student.name] = Tried(rung, steps[-1], 3.0 + place, *told, ended, curve, losses)
    return Trials(found, rungs, 3, 300.0, 41.0, cut=False)


def measure(candidates: Sequence[Candidate]) -> Mapping[str, Measurement]:
    found = {}
    for candidate in candidates:
        rng = random.Random(candidate.name)
        latency_s = latency_of(candidate.spec, candidate.precision) * math.exp(rng.gauss(0, 0.03))
        found[candidate.name] = Measurement(
            latency_s, 0.03, latency_s * 0.985, latency_s * 1.015, int(52e6 + 5 * weights(candidate.spec)),
            int(40e3 + weights(candidate.spec) * (4 if candidate.precision == "fp32" else 1.3)),
        )  # fmt: skip
    return found


def weights(spec: StudentSpec) -> int:
    return spec.layers * (4 * spec.hidden**2 + 2 * spec.hidden * spec.ffn) + 30 * spec.hidden


def latency_of(spec: StudentSpec, precision: str) -> float:
    rate = 4.2e9 if precision == "fp32" else 9.1e9
    return 60e-6 + spec.layers * (90e-6 if precision == "fp32" else 120e-6) + 17 * weights(spec) / rate


def teacher_table() -> dict[str, Any]:
    history = list(epochs(46, best=0.9861, start=0.32, alpha=0.0, rate=0.11, seed="teacher"))
    return {
        "schema_version": "1.0",
        "spec": TEACHER.to_dict(),
        "parameters": weights(TEACHER) + 2000,
        "origin": f"ViT {TEACHER.name} trained from nothing",
        "trained": True,
        "history": history,
        "best_epoch": best_epoch(history),
        "stopped": "early",
        "validation_accuracy": max(epoch["validation_accuracy"] for epoch in history),
        "label_names": [str(digit) for digit in range(10)],
        "data": {
            "name": "sklearn:digits", "train": 1293, "validation": 144, "test": EXAMPLES,
            "notes": ["The test part was cut from the training part (20 %, seed 17)."],
        },
    }  # fmt: skip


def data_table() -> dict[str, Any]:
    """Texts, although the run is one of images: they have more to tell."""
    parts = {"train": 1293, "validation": 144, "test": EXAMPLES}
    classes = [{"name": str(digit), "train": 120 + digit, "validation": 14, "test": 36} for digit in range(10)]
    shown = {"row": 7, "other_row": 940, "similarity": 0.874, "text": "a gripping film", "other_text": "a griping film"}
    found = [("validation", "train", 0, 0), ("test", "train", 2, 7), ("test", "validation", 0, 0)]
    return {
        "schema_version": "1.1", **dict.fromkeys(parts, "d" * 64), "repeated": 2, "examples": parts, "classes": classes,
        "imbalance": 1.075,
        "leakage": [
            {"part": part, "other": other, "examples": parts[part], "same": same, "nearly": nearly,
             "share": (same + nearly) / parts[part], "whole": True, "shown": [shown] if same else []}
            for part, other, same, nearly in found
        ],
        "near_duplicates": {"similarity": 0.8, "chance_found": 0.99964}, "dropped": 31,
        "blank": {"train": 3, "validation": 0, "test": 0}, "max_length": 64,
        "truncated": {"train": 95, "validation": 11, "test": 4},
        "warnings": ["9 of 360 test examples (2.5 %) also stand in train.", "train: 3 of 1293 texts are blank."],
    }  # fmt: skip


def student_table(spec: StudentSpec) -> dict[str, Any]:
    history = list(epochs(40, best=0.9792, start=0.25, alpha=0.9, rate=0.1, seed="student"))
    last = {**history[-1], "epoch": 41, "alpha": 0.0, "train_loss": 0.06, "validation_accuracy": 0.9783}
    return {
        "schema_version": "1.1",
        "spec": spec.to_dict(),
        "parameters": weights(spec) + 1000,
        "initialisation": {
            "method": "rotation", "layer_map": [0, 2, 5][: spec.layers], "copied_parameters": weights(spec),
            "compared": [start("rotation", 1.21, 0.42), start("importance", 1.72, 0.55), start("random", 2.41, None)],
        },
        "history": [*history, last],
        "best_epoch": best_epoch(history),
        "stopped": "finished",
        "fork": {
            "epoch": 41,
            "kept": False,
            "reason": "worse_calibrated",
            "calibration_error_before": 0.021,
            "calibration_error": 0.0573,
            "most_calibration_error": 0.0415,
        },
        "validation_accuracy": max(epoch["validation_accuracy"] for epoch in history),
        "validation_loss": 0.114,
        "teacher_validation_accuracy": 0.9861,
        "teacher_validation_loss": 0.0981,
        "agreement": 0.9722,
        "divergence": 0.0412,
        "calibration_error": 0.021,
        "teacher_calibration_error": 0.0156,
        "warning": None,
    }  # fmt: skip


def start(method: str, before: float, after: float | None) -> dict[str, Any]:
    layers = [] if method == "random" else [0, 2, 5]
    steps = 0 if after is None else 20
    return {"method": method, "layers": layers, "initial_loss": before, "steps": steps, "trained_loss": after}


def epochs(number: int, *, best: float, start: float, alpha: float, rate: float, seed: str) -> Iterable[dict[str, Any]]:
    rng = random.Random(seed)
    for epoch in range(1, number + 1):
        left = math.exp(-rate * epoch)
        accuracy = best - (best - start) * left - abs(rng.gauss(0, 0.008))
        yield {
            "epoch": epoch, "step": epoch * 21, "train_loss": (2.2 + 3 * alpha) * left + 0.05 + abs(rng.gauss(0, 0.01)),
            "validation_loss": 2.1 * left + 0.09 + abs(rng.gauss(0, 0.01)),
            "validation_accuracy": round(accuracy * 144) / 144, "alpha": alpha, "learning_rate": 1e-3 * left,
        }  # fmt: skip


def best_epoch(history: Sequence[dict[str, Any]]) -> int:
    return int(max(history, key=lambda epoch: (epoch["validation_accuracy"], -epoch["validation_loss"]))["epoch"])


def artifacts(spec: StudentSpec) -> list[Artifact]:
    made = (("teacher-fp32", TEACHER, "fp32", "teacher"), ("student-fp32", spec, "fp32", "student"),
            ("student-int8", spec, "int8", "student"))  # fmt: skip
    return [
        Artifact.model_validate({
            "name": name, "sha256": sha256_of_bytes(name.encode()), "precision": precision, "role": role,
            "size_bytes": int(41e3 + weights(each) * (4 if precision == "fp32" else 1.3)),
        })
        for name, each, precision, role in made
    ]  # fmt: skip


def entries(spec: StudentSpec) -> Iterable[Entry]:
    versions = Versions(edgekd="0.1.0", torch="2.13.0", transformers="5.23.0", onnx="1.21.0", onnxruntime="1.24.1")
    for artifact in artifacts(spec):
        apart = 2e-6 if artifact.precision == "fp32" else 0.31
        yield Entry(
            **artifact.model_dump(), file=f"{artifact.name}.onnx", inputs=[], outputs=[], opset=18, versions=versions,
            parity=ParityResult(absolute=apart, relative=apart / 9, agreement=1.0 if apart < 1 else 0.9, examples=128),
        )  # fmt: skip


def runtime() -> Runtime:
    return Runtime(name="onnxruntime", version="1.24.1", providers=["CPUExecutionProvider"], threads=1)


def accuracy_records(spec: StudentSpec) -> Iterable[AccuracyRecord]:
    labels = [index % 10 for index in range(EXAMPLES)]
    for artifact, wrong in zip(artifacts(spec), (6, 9, 12), strict=True):
        answers = [(label + 1) % 10 if index < wrong else label for index, label in enumerate(labels)]
        yield AccuracyRecord(
            artifact=artifact, created_utc="2026-02-03T10:20:00+00:00", dataset="sklearn:digits", split="test",
            dataset_sha256="d" * 64, runtime=runtime(), predictions=answers, labels=labels,
        )  # fmt: skip


def latency_records(spec: StudentSpec, samples: int) -> Iterable[LatencyRecord]:
    specs = (TEACHER, spec, spec)
    host = HostFacts(
        name="ssh://pi@kitchen:22", machine="aarch64", system="Linux 6.12.47+rpt-rpi-2712", python="3.11.2",
        cpu="Cortex-A76", cores=4, affinity=[3], memory_bytes=8_455_000_000, governor="ondemand", boot_id="b0",
        clock_hz=2_400_000_000, load_before=0.08, load_after=0.61, temperature_c_before=48.2, temperature_c_after=55.9,
        throttled_before="0x0", throttled_after="0x0",
    )  # fmt: skip
    for number, (artifact, each) in enumerate(zip(artifacts(spec), specs, strict=True)):
        typical = latency_of(each, artifact.precision)
        yield LatencyRecord(
            artifact=artifact, created_utc=f"2026-02-03T10:3{number}:07+00:00", device="raspberry-pi-5",
            warnings=[GOVERNOR],
            host=replace_facts(host, number), runtime=runtime(),
            protocol=Protocol(
                shapes={"pixel_values": [1, 1, 8, 8]}, processes=5, warmup_s=0.3, min_duration_s=1.0, min_samples=100
            ),
            runs=[process_run(typical, samples, f"{artifact.name}{run}") for run in range(5)],
        )  # fmt: skip


def replace_facts(host: HostFacts, number: int) -> HostFacts:
    return host.model_copy(update={"load_before": 0.08 + 0.1 * number, "temperature_c_before": 48.2 + number})


def process_run(typical_s: float, samples: int, seed: str) -> ProcessRun:
    """Samples with a slow wave, a skewed noise and, now and then, a burst of slow ones."""
    rng = random.Random(seed)
    shift, burst, found = math.exp(rng.gauss(0, 0.008)), 0, []
    for index in range(samples):
        burst = rng.randrange(3, 9) if rng.random() < 0.004 else max(0, burst - 1)
        wave = 1 + 0.01 * math.sin(index / samples * 6)
        slow = 1.9 if burst else 1.0
        found.append(int(typical_s * 1e9 * shift * wave * slow * (1 + rng.expovariate(40))))
    peak = int(61e6 + rng.randrange(900_000))
    return ProcessRun(
        load_ns=31_000_000, first_ns=found[0] * 3, warmup_ns=[found[0] * 2, found[0]], samples_ns=found,
        peak_memory_bytes=peak, peak_memory_source="VmHWM",
    )  # fmt: skip
