"""How well a calibration predicts students it has not seen, on this machine, live.

    python benchmarks/predictor/live.py [--case NAME ...] [--unseen 20] [--draw 1] [--budget "150 s"] [--write]

For each case `edgekd devices calibrate` measures its designed students, and a campaign of its own measures students
drawn at random from the same space, interleaved with the sentinel; another --draw draws others. With --neighbour
another process multiplies matrices while the calibration runs, and only then.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from evidence import RESULTS, table_text, write_results

from edgekd.files import make_folder
from edgekd.host_choice import HostChoice
from edgekd.pipeline.calibrate import Request, calibrate, level_of, measured_on
from edgekd.pipeline.pool import Pool, reference_of
from edgekd.pipeline.usual import Phase
from edgekd.record import HostFacts
from edgekd.student import Precision
from edgekd.units import duration_s_from_text

NAME = "predictor_live"


@dataclass(frozen=True)
class Case:
    """One calibration and what it is asked to predict."""

    family: str
    precision: Precision
    lengths: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    threads: int = 1
    phase: Phase = "whole"


CASES = {
    "bert fp32": Case("bert", "fp32"),
    "vit fp32": Case("vit", "fp32"),
    "llama fp32": Case("llama", "fp32"),
    "bert int8": Case("bert", "int8"),
    "vit int8": Case("vit", "int8"),
    "bert int4": Case("bert", "int4"),
    "bert fp32-fused": Case("bert", "fp32-fused"),
    "bert fp32, 16 to 256 tokens": Case("bert", "fp32", (16, 64, 256), (16, 24, 48, 96, 128, 192, 256)),
    "bert fp32, two threads": Case("bert", "fp32", threads=2),
    "llama prefill fp32": Case("llama", "fp32", phase="prefill"),
    "llama decode fp32": Case("llama", "fp32", (32, 512), (32, 64, 128, 256, 512), phase="decode"),
    "mobilenet_v2 fp32": Case("mobilenet_v2", "fp32"),
    "efficientnet fp32": Case("efficientnet", "fp32"),
}


def busy() -> None:
    """Multiply matrices until somebody ends this process."""
    import numpy as np

    one = np.ones((600, 600))
    while True:
        one = one @ one / 600


@contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Another process at work meanwhile."""
    process = multiprocessing.get_context("spawn").Process(target=busy, daemon=True)
    if wanted:
        process.start()
        time.sleep(1)
    try:
        yield
    finally:
        if wanted:
            process.kill()
            process.join()


def drawn(case: Case, number: int) -> random.Random:
    """What chooses the students of a draw; each number gives others."""
    return random.Random(f"{case}" if number == 1 else f"{case} {number}")  # noqa: S311  students, no secrets


def scored(
    case: Case, folder: Path, unseen: int, number: int, budget_s: float, noisy: bool
) -> tuple[dict[str, Any], HostFacts]:
    """Calibrate, measure `unseen` other students of a draw, and compare; with the host it was done on."""
    request = Request(
        HostChoice(), "generic-x86-64", case.family, folder / "board", (case.precision,), case.lengths,
        threads=case.threads, budget_s=budget_s, phase=case.phase,
    )  # fmt: skip
    begun_s = time.monotonic()
    with neighbour(noisy):
        outcome = calibrate(request, base=folder)
    took_s = time.monotonic() - begun_s
    calibration = outcome.calibrations[0]
    reference = reference_of(case.family, folder, case.asked or case.lengths, case.phase)
    pool = Pool(reference, (case.precision,), 1)
    seen = set(outcome.answer.measured)
    draw, names = drawn(case, number), list[str]()
    while len(names) < unseen:
        spec = draw.choice(pool.students)
        name = pool.add(spec, case.precision, draw.choice(reference.sequences))
        if name not in seen and name not in names:
            names.append(name)
    answer = measured_on(request, pool, names, folder / "unseen", level_of(calibration))
    errors, covered, memory = [], 0, []
    for name in names:
        found = answer.measured[name]
        features = pool.features(name)
        interval = calibration.latency_fit.predict(features)
        measured_s = found.latency_s
        errors.append(math.log(measured_s / interval.mid))
        covered += interval.low <= measured_s <= interval.high
        if calibration.memory_fit is not None and found.peak_memory_bytes is not None:
            memory.append(abs(calibration.memory_fit.predict(features).mid / found.peak_memory_bytes - 1))
    sizes = [abs(error) for error in errors]
    table = {
        "unseen": len(errors),
        "draw": number,
        "within_10": share(sizes, math.log(1.1)),
        "within_5": share(sizes, math.log(1.05)),
        "median_error": median(sizes),
        "largest_error": max(sizes),
        "bias": median(errors),
        "covered": covered / len(errors),
        "memory_within_15": share(memory, 0.15) if memory else None,
        "calibration_s": took_s,
        "students": calibration.left_out.students,
        "rounds": min(one.visits for one in outcome.answer.measured.values()),
        "sensitivity": calibration.sensitivity,
        "load": calibration.host.load_before,
        "machine": calibration.host.cpu,
        "errors": sorted(errors),
    }
    return table, calibration.host


def share(values: Sequence[float], most: float) -> float:
    """The share of `values` that is at most `most`."""
    return sum(value <= most for value in values) / len(values)


COLUMNS = (
    "case", "students", "took", "unseen", "within 10 %", "within 5 %", "median error", "in the 90 % interval",
    "memory within 15 %", "load before", "machine",
)  # fmt: skip


def row(name: str, one: dict[str, Any]) -> list[str]:
    """The cells of one case."""
    memory = "" if one["memory_within_15"] is None else f"{one['memory_within_15']:.0%}"
    shares = [f"{one[key]:.0%}" for key in ("within_10", "within_5")]
    error, covered = f"{one['median_error']:.1%}", f"{one['covered']:.0%}"
    took = f"{one['calibration_s']:.0f} s"
    load = "" if one["load"] is None else f"{one['load']:.1f}"
    machine = str(one.get("machine") or "").replace("(R)", "")
    return [name, str(one["students"]), took, str(one["unseen"]), *shares, error, covered, memory, load, machine]


TEXT = """\
`edgekd devices calibrate` measured the students of each row, export included in the time; then others, drawn at random
from the same space, were measured in the same way and compared with their prediction. All times are in turns with the
sentinel, whose undisturbed time the calibration has learned. The last line tells the machine of the newest rows."""


def stored() -> dict[str, dict[str, Any]]:
    """The cases that an earlier run left."""
    path = RESULTS / NAME / "result.json"
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8")).get("cases", {})
    return found


def in_order(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`results` in the order of CASES."""
    places = {name: place for place, name in enumerate(CASES)}

    def place(label: str) -> tuple[int, int]:
        return places[max((name for name in CASES if label.startswith(name)), key=len)], len(label)

    return {label: results[label] for label in sorted(results, key=place)}


def told(results: Sequence[dict[str, Any]]) -> str:
    """All cases together."""
    errors = [abs(error) for one in results for error in one["errors"]]
    covered = sum(one["covered"] * one["unseen"] for one in results) / len(errors)
    return (
        f"All {len(errors)} students together: {share(errors, math.log(1.1)):.1%} within 10 %, "
        f"{share(errors, math.log(1.05)):.1%} within 5 %, median error {median(errors):.1%}, "
        f"{covered:.1%} inside their 90 % interval."
    )


def main() -> int:
    """Measure the cases and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--unseen", type=int, default=20)
    parser.add_argument("--draw", type=int, default=1, help="which random students are asked for")
    parser.add_argument("--budget", type=duration_s_from_text, default=150.0)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder that is left with all records")
    parser.add_argument("--write", action="store_true", help="replace the rows of these cases, keep those of others")
    chosen = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    host = None
    for name in chosen.case or CASES:
        label = f"{name}, a neighbour during calibration" if chosen.neighbour else name
        label += f", draw {chosen.draw}" if chosen.draw > 1 else ""
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            root = Path(folder) if chosen.keep is None else make_folder(chosen.keep / label.replace(" ", "-"))
            results[label], host = scored(
                CASES[name], root, chosen.unseen, chosen.draw, chosen.budget, chosen.neighbour
            )
        print(" | ".join(row(label, results[label])), json.dumps(results[label]), flush=True)
    if chosen.write and host is not None:
        results = in_order({**stored(), **results})
        text = table_text(COLUMNS, [row(label, one) for label, one in results.items()])
        page = f"{TEXT}\n\n{text}\n\n{told(list(results.values()))}"
        write_results(NAME, "Predicting students that were not measured", page, {"cases": results}, host)
    return 0


if __name__ == "__main__":
    sys.exit(main())
