"""What learning a graph once per teacher saves over exporting each untrained student, and whether it runs as fast.

    python benchmarks/predictor/template.py --write

How long do an export, its quantisation and a file from the template take? And is the template's file, whose weights
repeat a short block, as fast as the real one, whose weights are random? Both run in turns in one process, beside the
real one against a copy of itself, which shows how far a ratio strays from one by itself. The peak memory of each is
taken in a process of its own. Whether the graphs are equal node by node is compared as well.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import paired, table_text, write_results

from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import relative_latency
from edgekd.bench.sentinel import sentinel_model
from edgekd.export.check import parsed_model
from edgekd.export.decoder import export_decode, export_prefill
from edgekd.export.onnx import export_onnx
from edgekd.export.signature import first_difference, graph_signature
from edgekd.export.template import GraphTemplate, Kind, learn
from edgekd.export.variants import write_variant
from edgekd.hosts.local import LocalHost
from edgekd.record import HostFacts
from edgekd.student import PRECISIONS, Precision, StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

SEQUENCE = 64
PAIRS = 30
PROCESSES = 4
HEAD_DIM = 64
# Layers and heads of the students; each head is HEAD_DIM wide and ffn is four times hidden. Graphs take them in turns.
SIZES = ((1, 2), (2, 2), (4, 4), (6, 4), (6, 6), (8, 8))
SUBJECTS: tuple[tuple[str, Kind], ...] = (
    ("bert", "text"),
    ("vit", "image"),
    ("llama", "text"),
    ("llama", "prefill"),
    ("llama", "decode"),
)
COLUMNS = (
    "graph", "precision", "learn", "student", "export", "template", "shrinks to", "latency ratio", "memory ratio",
    "real over itself",
)  # fmt: skip


@dataclass
class Stand:
    """Where files are made and timed."""

    folder: Path
    host: LocalHost
    facts: HostFacts | None = None

    @property
    def plan(self) -> BenchPlan:
        """How each file is run."""
        return BenchPlan(warmup_s=0.2, dims={"batch": 1, "sequence": SEQUENCE, "past": SEQUENCE}, id_limit=1000)

    def ratio(self, model: Path, other: Path) -> dict[str, float]:
        """How many times as long as `other` the `model` takes: the middle and the ends over several processes.

        Each is first as often as second, because the place in a pair has an effect of its own.
        """
        found = []
        for process in range(PROCESSES):
            swapped = process % 2 == 1
            first, second = (other, model) if swapped else (model, other)
            run, self.facts = paired(self.host, first, second, self.plan, PAIRS)
            ratio = relative_latency(run).ratio
            found.append(1 / ratio if swapped else ratio)
        return {"ratio": median(found), "low": min(found), "high": max(found)}

    def peak_bytes(self, model: Path) -> int:
        """The peak memory of a process that runs `model` beside the small sentinel."""
        run, _ = paired(self.host, model, sentinel_model(self.folder / "sentinel.onnx"), self.plan, 3)
        if run.peak_memory_bytes is None:
            raise SystemExit("this machine does not tell the peak memory of a process")
        return run.peak_memory_bytes


def main() -> None:
    """Time and compare, print, and with --write store results/predictor_template."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, default=1, help=f"students per graph and precision, up to {len(SIZES)}")
    parser.add_argument("--graph", choices=[f"{name}-{kind}" for name, kind in SUBJECTS], help="one of them alone")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cases = [
        (name, kind, precision)
        for name, kind in SUBJECTS
        for precision in precisions_of(name)
        if asked.graph in (None, f"{name}-{kind}")
    ]
    with tempfile.TemporaryDirectory() as folder, LocalHost(Path(folder) / "host") as host:
        stand = Stand(Path(folder), host)
        _export(_teacher("bert", "text"), "text", "int8", stand.folder)  # the first of a process loads the exporter
        found = []
        for number, (name, kind, precision) in enumerate(cases):
            sizes = [SIZES[(number + more) % len(SIZES)] for more in range(asked.sizes)]
            for one in _compared(stand, name, kind, precision, sizes):
                print(_row(one), file=sys.stderr, flush=True)
                found.append(one)
    text = "\n\n".join((_told(), table_text(COLUMNS, [_row(one) for one in found]), _summary(found)))
    if asked.write and stand.facts is not None:
        write_results(
            "predictor_template", "Untrained students from a template", text, {"students": found}, stand.facts
        )
    else:
        print(text)


def precisions_of(name: str) -> list[Precision]:
    """Those that a graph of the family `name` has: the tool that fuses knows no pattern of a llama."""
    return [one for one in PRECISIONS if name != "llama" or not one.endswith("-fused")]


def _told() -> str:
    return (
        f"Students with heads of {HEAD_DIM} and ffn of four times hidden. learn: a template for all students of the"
        " teacher, once. export: building the student, exporting it and writing its variant. template: the same file"
        " from the template. shrinks to: its share of the size when it is compressed by zlib at its lowest level, in"
        f" brackets that of the export. Latency ratio: template over real export, batch 1, {SEQUENCE} tokens (decode:"
        f" one token after {SEQUENCE}), the median of {PROCESSES} processes of {PAIRS} pairs (range); memory ratio: of"
        " the peaks of two processes; real over itself: the same ratio of latencies for a real export in fp32 and its"
        " copy. Every graph was compared with its export, node by node."
    )


def _summary(found: list[dict[str, Any]]) -> str:
    saved = median(one["export_s"] / one["write_s"] for one in found)
    off = [abs(one["latency"]["ratio"] - 1) for one in found]
    self_off = [abs(one["itself"]["ratio"] - 1) for one in found if one["itself"]]
    memory = [abs(one["memory_ratio"] - 1) for one in found]
    return (
        f"A file from the template takes 1/{saved:.0f} of the time of an export (median). Latency ratios are off one by"
        f" {median(off):.1%} in the median and {max(off):.1%} at most; those of a file and its copy by"
        f" {median(self_off):.1%} and {max(self_off):.1%}. Ratios of memory are off one by {max(memory):.1%} at most."
    )


def _row(one: dict[str, Any]) -> list[str]:
    return [
        f"{one['name']} {one['kind']}",
        one["precision"],
        f"{one['learn_s']:.1f} s",
        one["student"],
        f"{one['export_s']:.2f} s",
        f"{one['write_s']:.3f} s",
        f"{one['shrinks_to']:.1%} ({one['real_shrinks_to']:.0%})",
        _ratio_text(one["latency"]),
        f"{one['memory_ratio']:.3f}",
        _ratio_text(one["itself"]) if one["itself"] else "-",
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


def _student_of(teacher: StudentSpec, layers: int, heads: int) -> StudentSpec:
    hidden, group = heads * HEAD_DIM, teacher.heads // teacher.kv_heads
    return replace(teacher, layers=layers, hidden=hidden, heads=heads, kv_heads=heads // group, ffn=4 * hidden)


@functools.cache
def _config(teacher: StudentSpec) -> Any:
    return config_from_spec(teacher)


def _model(spec: StudentSpec) -> Any:
    return build(spec, _config(_teacher(spec.architecture, "text" if spec.labels else "decode")), seed=0)


def _export(spec: StudentSpec, kind: Kind, precision: str, folder: Path) -> Path:
    """The real thing: a built and exported student, in another precision where one is asked for."""
    plain, variant = folder / "plain.onnx", folder / "variant.onnx"
    if kind == "prefill":
        export_prefill(_model(spec), plain)
    elif kind == "decode":
        export_decode(_model(spec), plain)
    else:
        export_onnx(_model(spec), plain, kind=kind)
    if precision == "fp32":
        return plain
    write_variant(plain, variant, precision)
    return variant


def _compared(
    stand: Stand, name: str, kind: Kind, precision: Precision, sizes: Sequence[tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    teacher = _teacher(name, kind)
    begin = time.perf_counter()
    template = learn(teacher, _model, kind=kind, precision=precision)
    learn_s = time.perf_counter() - begin
    for layers, heads in sizes:
        spec = _student_of(teacher, layers, heads)
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
        "shrinks_to": _shrinks_to(filled),
        "real_shrinks_to": _shrinks_to(real),
        "latency": stand.ratio(filled, real),
        "memory_ratio": stand.peak_bytes(filled) / stand.peak_bytes(real),
        "itself": stand.ratio(copy, real) if template.precision == "fp32" else None,
    }


def _shrinks_to(path: Path) -> float:
    data = path.read_bytes()
    return len(zlib.compress(data, 1)) / len(data)


if __name__ == "__main__":
    main()
