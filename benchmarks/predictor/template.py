"""What learning a graph once per teacher saves over exporting each untrained student, and whether it runs as fast.

Two questions. How long do an export, its quantisation and a file from the template take? And is the template's file as
fast as the real one: both run in turns in one process, beside the real one against a copy of itself, which shows how
far a ratio strays from one by itself. Whether the graphs are equal node by node is compared as well.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import relative_latency
from edgekd.export.check import parsed_model
from edgekd.export.decoder import export_decode, export_prefill
from edgekd.export.onnx import export_onnx
from edgekd.export.quantize import quantize_dynamic
from edgekd.export.signature import first_difference, graph_signature
from edgekd.export.template import GraphTemplate, Kind, learn
from edgekd.hosts.local import LocalHost
from edgekd.record import HostFacts
from edgekd.student import PRECISIONS, StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

SEQUENCE = 64
PAIRS = 60
PROCESSES = 4
HEAD_DIM = 64
# Layers and heads of the students; each head is HEAD_DIM wide and ffn is four times hidden.
SIZES = ((1, 2), (2, 2), (4, 4), (6, 4), (6, 6), (8, 8))
SUBJECTS: tuple[tuple[str, Kind], ...] = (
    ("bert", "text"),
    ("vit", "image"),
    ("llama", "text"),
    ("llama", "prefill"),
    ("llama", "decode"),
)
COLUMNS = ("graph", "precision", "learn", "student", "export", "template", "size", "latency ratio", "real over itself")


@dataclass
class Stand:
    """Where files are made and timed."""

    folder: Path
    host: LocalHost
    facts: HostFacts | None = None

    def ratio(self, model: Path, other: Path) -> dict[str, float]:
        """How many times as long as `other` the `model` takes: the middle and the ends over several processes.

        Each is first as often as second, because the place in a pair has an effect of its own.
        """
        from evidence import paired

        dims = {"batch": 1, "sequence": SEQUENCE, "past": SEQUENCE}
        plan = BenchPlan(warmup_s=0.3, dims=dims, id_limit=1000)
        found = []
        for process in range(PROCESSES):
            swapped = process % 2 == 1
            first, second = (other, model) if swapped else (model, other)
            run, self.facts = paired(self.host, first, second, plan, PAIRS)
            ratio = relative_latency(run).ratio
            found.append(1 / ratio if swapped else ratio)
        return {"ratio": median(found), "low": min(found), "high": max(found)}


def main() -> None:
    """Time and compare everything, and write results/predictor_template."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from evidence import table_text, write_results

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, LocalHost(Path(folder) / "host") as host:
        stand = Stand(Path(folder), host)
        _export(_teacher("bert", "text"), "text", "int8", stand.folder)  # the first of a process loads the exporter
        found = [row for name, kind in SUBJECTS for row in _compared(stand, name, kind)]
    if stand.facts is None:
        raise SystemExit("nothing was measured")
    told = (
        f"Students with heads of {HEAD_DIM} and ffn of four times hidden. learn: a template for all students of the"
        " teacher, once. export: building the student, exporting and, for int8, quantising it. template: the same file"
        f" from the template. Latency ratio: template over real export, batch 1, {SEQUENCE} tokens (decode: one token"
        f" after {SEQUENCE}), the median of {PROCESSES} processes of {PAIRS} pairs (range); real over itself: the same"
        " for a real export and its copy. Every graph was compared with its export, node by node."
    )
    text = "\n\n".join((told, table_text(COLUMNS, [_row(one) for one in found]), _summary(found)))
    write_results("predictor_template", "Untrained students from a template", text, {"students": found}, stand.facts)


def _summary(found: list[dict[str, Any]]) -> str:
    saved = median(one["export_s"] / one["write_s"] for one in found)
    off = [abs(one["latency"]["ratio"] - 1) for one in found]
    self_off = [abs(one["itself"]["ratio"] - 1) for one in found]
    return (
        f"A file from the template takes 1/{saved:.0f} of the time of an export (median). Latency ratios are off one by"
        f" {median(off):.1%} in the median and {max(off):.1%} at most; those of a file and its copy by"
        f" {median(self_off):.1%} and {max(self_off):.1%}."
    )


def _row(one: dict[str, Any]) -> list[str]:
    return [
        f"{one['name']} {one['kind']}",
        one["precision"],
        f"{one['learn_s']:.1f} s",
        one["student"],
        f"{one['export_s']:.2f} s",
        f"{one['write_s']:.3f} s",
        f"{one['size_ratio']:.5f}",
        _ratio_text(one["latency"]),
        _ratio_text(one["itself"]),
    ]


def _ratio_text(found: dict[str, float]) -> str:
    return f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _teacher(name: str, kind: Kind) -> StudentSpec:
    sizes: dict[str, Any] = {"layers": 12, "hidden": 12 * HEAD_DIM, "heads": 12, "ffn": 48 * HEAD_DIM, "labels": 4}
    if name == "vit":
        sizes |= {"image_size": 96, "patch_size": 16, "channels": 3}
    else:
        sizes |= {"vocabulary": 8000, "positions": 512, "token_types": 2 if name == "bert" else 0}
    if name == "llama":
        sizes |= {"kv_heads": 6, "head_dim": HEAD_DIM, "tied": False}
    if kind in ("prefill", "decode"):
        sizes |= {"labels": 0}
    return StudentSpec(architecture=name, **sizes)


def _students(teacher: StudentSpec) -> Iterator[StudentSpec]:
    group = teacher.heads // teacher.kv_heads
    for layers, heads in SIZES:
        hidden = heads * HEAD_DIM
        sizes: dict[str, Any] = {"layers": layers, "hidden": hidden, "heads": heads, "kv_heads": heads // group}
        yield replace(teacher, **sizes, ffn=4 * hidden)


@functools.cache
def _config(teacher: StudentSpec) -> Any:
    return config_from_spec(teacher)


def _model(spec: StudentSpec) -> Any:
    return build(spec, _config(_teacher(spec.architecture, "text" if spec.labels else "decode")), seed=0)


def _export(spec: StudentSpec, kind: Kind, precision: str, folder: Path) -> Path:
    """The real thing: a built, exported and perhaps quantised student."""
    plain, quantised = folder / "plain.onnx", folder / "quantised.onnx"
    if kind == "prefill":
        export_prefill(_model(spec), plain)
    elif kind == "decode":
        export_decode(_model(spec), plain)
    else:
        export_onnx(_model(spec), plain, kind=kind)
    if precision == "fp32":
        return plain
    quantize_dynamic(plain, quantised)
    return quantised


def _compared(stand: Stand, name: str, kind: Kind) -> Iterator[dict[str, Any]]:
    teacher = _teacher(name, kind)
    for precision in PRECISIONS:
        begin = time.perf_counter()
        template = learn(teacher, _model, kind=kind, precision=precision)
        learn_s = time.perf_counter() - begin
        for spec in _students(teacher):
            told = {"name": name, "kind": kind, "precision": precision, "learn_s": learn_s, "student": spec.name}
            yield {**told, **_student(stand, template, spec)}


def _student(stand: Stand, template: GraphTemplate, spec: StudentSpec) -> dict[str, Any]:
    filled, copy = stand.folder / "template.onnx", stand.folder / "copy.onnx"
    begin = time.perf_counter()
    real = _export(spec, template.kind, template.precision, stand.folder)
    middle = time.perf_counter()
    template.write(spec, filled)
    end = time.perf_counter()
    shutil.copy(real, copy)
    difference = first_difference(*(graph_signature(parsed_model(path)) for path in (filled, real)))
    if difference:
        raise SystemExit(f"{spec.name}: the template's graph is another one: {difference}")
    return {
        "export_s": middle - begin,
        "write_s": end - middle,
        "size_ratio": filled.stat().st_size / real.stat().st_size,
        "latency": stand.ratio(filled, real),
        "itself": stand.ratio(copy, real),
    }


if __name__ == "__main__":
    main()
