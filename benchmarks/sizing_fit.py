"""Does it matter which students a latency fit is made from? 36 BERT encoders, measured; fits of 6 and of 12 of them.

All 36 are exported untrained and timed by onnxruntime in pairs with the sentinel. Then latency is fitted to a few, as
`edgekd size` does, and predicted for the others: once for the students that `spanning` picks, and for many random
picks of as many.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from evidence import paired, table_text, write_results

from edgekd.bench.plan import BenchPlan
from edgekd.bench.ratio import quiet_level_s, relative_latency, seconds_from_ratio
from edgekd.bench.sentinel import sentinel_model
from edgekd.cost.columns import SpecColumns
from edgekd.device import load_profile
from edgekd.export.onnx import export_onnx
from edgekd.hosts.local import LocalHost
from edgekd.record import HostFacts, PairedRun
from edgekd.sizing.design import spanning
from edgekd.sizing.forecast import Measurement, fitted, forecasts
from edgekd.sizing.price import PricedStudent, Setting
from edgekd.sizing.table import Pricing, Table, table_of_specs
from edgekd.student import Candidate, StudentSpec
from edgekd.students.build import build

SEQUENCE = 64
PAIRS = 30
DRAWS = 500
NUMBERS = (6, 12)
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Score:
    """How well a fit told the latencies of the students it had not seen."""

    median_error: float
    worst_error: float
    held: float
    coverage: float


def main() -> None:
    """Measure, fit, and write results/sizing_fit."""
    torch.set_num_threads(1)
    table = _table()
    students = [table.student(row) for row in range(len(table))]
    runs, host = _measured(students)
    measurements = _measurements(runs)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}
    for number in NUMBERS:
        taken = [students[row] for row in spanning(table, number)]
        chosen = _score(table, measurements, taken)
        draw = random.Random(0)  # noqa: S311  which students a fit is made from is no secret
        others = [_score(table, measurements, draw.sample(students, number)) for _ in range(DRAWS)]
        rows += [_row(f"{number} spanning", [chosen]), _row(f"{number} random", others)]
        names = [student.name for student in taken]
        numbers[str(number)] = {"spanning": asdict(chosen), "students": names, "random": _means(others)}
    text = (
        f"{len(students)} untrained BERT encoders (1 to 6 layers, hidden 64 to 384, {SEQUENCE} tokens, fp32), each "
        f"timed {PAIRS} times in turns with the sentinel. Errors are of the students outside the fit. Random rows are "
        f"means over {DRAWS} picks.\n\n"
        + table_text(("fit on", "median error", "worst error", "held by interval", "promised"), rows)
        + "\n\nThe form of the fit and its outlier threshold were once chosen while looking at these same models, so "
        "students outside a fit\nwere not unseen by us: expect somewhat worse on other models.\n"
    )
    raw = {name: {"model_ns": run.model_ns, "sentinel_ns": run.sentinel_ns} for name, run in runs.items()}
    latencies = {name: found.latency_s for name, found in measurements.items()}
    numbers |= {"latency_s": latencies, "raw": raw}
    write_results("sizing_fit", "Which students to fit a latency to", text, numbers, host)


def _table() -> Table:
    specs = [_spec(layers, heads) for layers in range(1, 7) for heads in range(2, 13, 2)]
    pricing = Pricing(_spec(6, 12), load_profile("generic-x86-64"), Setting(("fp32",), 1, SEQUENCE, 1))
    return table_of_specs(SpecColumns.of(specs, _spec(6, 12)), np.full(len(specs), SEQUENCE), pricing)


def _spec(layers: int, heads: int) -> StudentSpec:
    return StudentSpec(
        architecture="bert", layers=layers, hidden=32 * heads, heads=heads, ffn=128 * heads, vocabulary=1000,
        positions=SEQUENCE, token_types=2, labels=2,
    )  # fmt: skip


def _measured(students: Sequence[PricedStudent]) -> tuple[dict[str, PairedRun], HostFacts]:
    plan = BenchPlan(warmup_s=0.1, dims={"batch": 1, "sequence": SEQUENCE}, id_limit=1000)
    runs: dict[str, PairedRun] = {}
    facts: HostFacts | None = None
    # In a shuffled order, so that a change of the machine with time is no change with size.
    order = random.Random(1).sample(students, len(students))  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        sentinel = sentinel_model(Path(folder) / "sentinel.onnx")
        with LocalHost(Path(folder) / "host") as host:
            for student in order:
                model = Path(folder) / f"{student.name}.onnx"
                export_onnx(build(student.spec, seed=0), model, kind="text")
                runs[Candidate(student.spec).name], facts = paired(host, model, sentinel, plan, PAIRS)
                model.unlink()
    if facts is None:
        raise SystemExit("no student was measured")
    return runs, facts


def _measurements(runs: Mapping[str, PairedRun]) -> dict[str, Measurement]:
    quiet_s = quiet_level_s(list(runs.values()))
    found = {}
    for name, run in runs.items():
        relative = relative_latency(run)
        latency_s = seconds_from_ratio(relative.ratio, quiet_s)
        error = NORMAL_95 * relative.error / relative.ratio
        spread = relative.spread / relative.ratio
        found[name] = Measurement(latency_s, spread, latency_s / (1 + error), latency_s * (1 + error))
    return found


def _score(table: Table, measurements: Mapping[str, Measurement], taken: Sequence[PricedStudent]) -> Score:
    seen = {Candidate(student.spec).name for student in taken}
    fits = fitted(taken, {name: measurements[name] for name in seen}, ["fp32"])
    expected = forecasts(table, fits)["fp32"].latency
    errors, held = [], []
    for row in range(len(table)):
        name = f"{table.name(row)}-fp32"
        if name in seen:
            continue
        latency_s = measurements[name].latency_s
        errors.append(abs(math.log(latency_s / float(expected.mid[row]))))
        held.append(bool(expected.low[row] <= latency_s <= expected.high[row]))
    fit = fits["fp32"].latency
    return Score(median(errors), max(errors), fmean(held), fit.coverage if fit else math.nan)


def _means(scores: Sequence[Score]) -> dict[str, float]:
    return {name: fmean(getattr(score, name) for score in scores) for name in Score.__dataclass_fields__}


def _row(name: str, scores: Sequence[Score]) -> list[str]:
    means = _means(scores)
    shares = [f"{means[key]:.0%}" for key in ("worst_error", "held", "coverage")]
    return [name, f"{means['median_error']:.1%}", *shares]


if __name__ == "__main__":
    main()
