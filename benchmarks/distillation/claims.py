"""What cutting layers, width or both buys and costs: latency in pairs with the teacher, accuracy on the test part.

    python benchmarks/distillation/claims.py --case banking77 --seeds 1 --write

Needs the work folder of retention.py, whose teachers and cached answers it uses, and goes on where it was killed. Both
files of a pair run in turns in one process, one example at a time, on one thread; a ratio is the middle of several
processes. Students are trained as retention.py trains its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import RESULTS, paired, table_text, write_results
from retention import CASES, Case, capacity
from retention_table import retained

from edgekd.bench.agent.facts import lasting_facts
from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import relative_latency
from edgekd.export.onnx import export_onnx
from edgekd.export.variants import write_variant
from edgekd.files import read_json, write_json
from edgekd.hosts.local import LocalHost
from edgekd.record import HostFacts
from edgekd.student import StudentSpec
from edgekd.students.build import build

FFN_STEP = 32
PAIRS, PROCESSES = 100, 5
TOKENS = 32  # per text, as long as a question to a bank


@dataclass(frozen=True)
class Cut:
    """A way to make a teacher smaller, and what is said of it: time saved and accuracy kept."""

    name: str
    claim: str
    of: Callable[[StudentSpec], StudentSpec]


def cut(teacher: StudentSpec, *, depth: float = 1.0, width: float = 1.0) -> StudentSpec:
    """The teacher with these shares of its layers and of its width; heads stay as wide as they are."""
    heads = max(1, round(width * teacher.heads))
    ffn = max(FFN_STEP, round(width * teacher.ffn / FFN_STEP) * FFN_STEP)
    return replace(
        teacher, layers=max(1, round(depth * teacher.layers)), heads=heads, kv_heads=heads,
        hidden=heads * teacher.head_dim, ffn=ffn,
    )  # fmt: skip


CUTS = {
    "layers": Cut("half the layers", "60-70 % faster, 96-98 % kept", lambda teacher: cut(teacher, depth=0.5)),
    "width": Cut("half the width", "40-50 % faster, 92-96 % kept", lambda teacher: cut(teacher, width=0.5)),
    "both": Cut("30 % off both", "50-60 % faster, 94-98 % kept", lambda teacher: cut(teacher, depth=0.7, width=0.7)),
}


def latency(case: Case, name: str, precision: str) -> dict[str, float]:
    """How many times as long as the teacher the student takes: the middle and the ends over several processes."""
    known = case.root / "claims" / f"latency-{name}-{precision}.json"
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        write_json(known, _measured(StudentSpec.from_dict(case.teacher()["spec"]), CUTS[name], precision))
    found: dict[str, float] = read_json(known)
    return found


def _measured(teacher: StudentSpec, how: Cut, precision: str) -> dict[str, float]:
    dims = {"batch": 1, **({} if teacher.tokens else {"sequence": TOKENS})}
    plan = BenchPlan(warmup_s=0.3, dims=dims, id_limit=teacher.vocabulary or 2)
    with tempfile.TemporaryDirectory() as folder, LocalHost(Path(folder) / "host") as host:
        files = []
        for spec in (how.of(teacher), teacher):
            plain = Path(folder) / f"{spec.name}-fp32.onnx"
            export_onnx(build(spec, seed=0), plain, kind="image" if spec.tokens else "text")
            files.append(plain if precision == "fp32" else plain.with_name(f"{spec.name}-{precision}.onnx"))
            if precision != "fp32":
                write_variant(plain, files[-1], precision)
        runs = [paired(host, files[0], files[1], plan, PAIRS)[0] for _ in range(PROCESSES)]
    ratios = [relative_latency(run).ratio for run in runs]
    return {"ratio": median(ratios), "low": min(ratios), "high": max(ratios)}


def rows_of(case: Case, seeds: int, precisions: list[str]) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each cut, and the numbers behind."""
    known = case.teacher()
    labels, teacher = np.array(known["labels"]), StudentSpec.from_dict(known["spec"])
    right_of_teacher = (np.array(known["answers"]) == labels).astype(float)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}
    for name, how in CUTS.items():
        spec = how.of(teacher)
        found = [place for seed in range(1, seeds + 1) if (place := _place(case, name, seed)).exists()]
        share = capacity(spec) / capacity(teacher)
        times = {precision: latency(case, name, precision) for precision in precisions}
        numbers[name] = {"student": spec.name, "parameters": share, "latency": times, "seeds": len(found)}
        kept = "not trained"
        if found:
            right = np.array([np.array(read_json(place)["answers"]) == labels for place in found]).astype(float)
            middle, low, high = retained(right, right_of_teacher)
            numbers[name] |= {"retained": middle, "interval": [low, high], "accuracy": right.mean(axis=1).tolist()}
            kept = f"{middle:.1%} ({low:.1%} to {high:.1%})"
        rows.append([
            case.name, how.name, how.claim, spec.name, f"{share:.1%}", str(len(found)),
            *(_saved_text(times[precision]) for precision in precisions), kept,
        ])  # fmt: skip
    return rows, numbers


def _saved_text(found: dict[str, float]) -> str:
    saved = f"{1 - found['ratio']:.0%} ({1 - found['high']:.0%} to {1 - found['low']:.0%})"
    return f"{saved}, x {1 / found['ratio']:.2f}"


def _place(case: Case, name: str, seed: int) -> Path:
    return case.root / "claims" / f"{name}-{seed}" / "result.json"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", action="append")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further student after that")
    parser.add_argument("--work", type=Path, default=Path("runs/retention"))
    parser.add_argument("--write", action="store_true", help="replace the results of these cases, keep those of others")
    asked = parser.parse_args()
    begun, precisions = time.monotonic(), asked.precision or ["fp32", "int8"]
    stored = RESULTS / "claims" / "result.json"
    known = read_json(stored)["cases"] if asked.write and stored.exists() else {}
    for name in asked.case or CASES:
        case = Case(name, asked.work / name)
        teacher = StudentSpec.from_dict(case.teacher()["spec"])
        for seed in range(1, asked.seeds + 1):
            for short, how in CUTS.items():
                place = _place(case, short, seed)
                if not place.exists() and time.monotonic() - begun < 60 * asked.minutes:
                    print(f"{name}, {how.name}, seed {seed}", flush=True)
                    case.distilled(how.of(teacher), seed, place.parent)
        rows, numbers = rows_of(case, asked.seeds, precisions)
        known[name] = {"rows": rows, "columns": precisions, "numbers": numbers}
    _tell(known, write=asked.write)


def _tell(known: dict[str, Any], *, write: bool) -> None:
    tables = []
    for found in known.values():
        columns = (
            "data", "student", "said", "dimensions", "parameters", "seeds",
            *(f"time saved, {precision}" for precision in found["columns"]), "accuracy kept",
        )  # fmt: skip
        tables.append(table_text(columns, found["rows"]))
    text = (
        "`said` is what is often promised of such a student; the rest was measured. `parameters` are those outside\n"
        "the embeddings, as a share of the teacher's. `time saved` is 1 - latency / the teacher's latency in the same\n"
        f"precision, one example of {TOKENS} tokens or one image at a time: the middle and the range of {PROCESSES}\n"
        f"processes of {PAIRS} pairs; behind it the speed-up. `accuracy kept` is by the teacher's on the test part,\n"
        "with the 95 % interval over its examples.\n\n"
    ) + "\n\n".join(tables)
    if write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("claims", "What smaller students buy and cost", text, {"cases": known}, host)
    else:
        print(text)


if __name__ == "__main__":
    main()
