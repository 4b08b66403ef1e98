"""What a start is worth: optimiser steps until a student is where one with random weights ends.

    python benchmarks/distillation/starts.py --case banking77 --write

Needs the work folder of retention.py, whose teachers and cached answers it uses. Students of one size are distilled for
the same number of steps, one for each start of edgekd.students.initialise and one for the start that `auto` chooses.
All follow one schedule and see the batches in one order; on the way each is judged by its cross entropy on the
validation part.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import table_text, write_results
from retention import CASES, Case, Size, student_of

from edgekd.bench.agent.facts import lasting_facts
from edgekd.distill.settings import student_settings
from edgekd.distill.short import Stretch, train_short
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.begin import begin
from edgekd.pipeline.lesson import lesson
from edgekd.record import HostFacts
from edgekd.students.choose import even_layers
from edgekd.students.initialise import methods_for
from edgekd.trials.bake_off import Start

LOOKS = 20  # at the validation part, evenly spaced over the steps


def curve(case: Case, size: Size, seed: int, method: str, steps: int) -> dict[str, Any]:
    """The losses of a student that begins by `method` (or `auto`), every twentieth of `steps`."""
    place = case.root / "starts" / f"{round(100 * size.share)}-{seed}-{method}-{steps}"
    known = place / "curve.json"
    if known.exists():
        found: dict[str, Any] = read_json(known)
        return found
    context = case.context(seed)
    taught = lesson(context, None)
    spec = student_of(taught.teacher_spec, size)
    if method == "auto":
        student, table = begin(context, taught, spec, make_folder(place))
        method = f"auto: {table['method']} of layers {table['layer_map']}"
    else:
        layers = () if method == "random" else tuple(even_layers(taught.teacher_spec.layers, spec.layers))
        student, _ = taught.student(spec, seed, Start(method, layers))  # type: ignore[arg-type]
    settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
    every = max(1, steps // LOOKS)
    short = train_short(
        student, taught.train, taught.validation, settings, Stretch(every * LOOKS, every, max(1, round(0.05 * steps))),
        place / "training", pad_token_id=taught.pad,
    )  # fmt: skip
    found = {
        "start": method,
        "student": spec.name,
        "points": [[point.step, point.validation_loss, point.validation_accuracy] for point in short.history],
    }
    write_json(known, found)
    return found


def first_below(points: list[list[float]], loss: float) -> int | None:
    """The step at which a curve first is at `loss` or below."""
    return next((int(step) for step, found, _ in points if found <= loss), None)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/retention"))
    parser.add_argument("--write", action="store_true", help="replace the results of these cases, keep those of others")
    asked = parser.parse_args()
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}
    for name in asked.case or CASES:
        case = Case(name, asked.work / name)
        size = next(size for size in CASES[name] if size.share == asked.share)
        methods = [*methods_for(_architecture(case)), "auto"]
        curves = {}
        for method in methods:
            print(f"{name}, {method}", flush=True)
            curves[method] = curve(case, size, asked.seed, method, asked.steps)
        numbers[name] = curves
        rows += _rows(name, curves)
    columns = (
        "data",
        "student",
        "start",
        "loss at the end",
        "right at the end",
        "steps to the end of random",
        "of uniform",
    )
    text = (
        "Cross entropy on the validation part. Steps are those at which a look first found the loss at which the\n"
        f"student with random weights, or the uniform one, ended; looks are {LOOKS}, evenly spaced.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("starts", "What a start is worth", text + table_text(columns, rows), numbers, host)
    else:
        print(table_text(columns, rows))


def _architecture(case: Case) -> str:
    return str(case.teacher()["spec"]["architecture"])


def _rows(name: str, curves: dict[str, dict[str, Any]]) -> list[list[str]]:
    ends = {method: found["points"][-1] for method, found in curves.items()}
    rows = []
    for method, found in curves.items():
        reached = [first_below(found["points"], ends[other][1]) for other in ("random", "uniform")]
        shown = ["never" if step is None else str(step) for step in reached]
        _, loss, right = ends[method]
        rows.append([name, found["student"], found["start"], f"{loss:.4f}", f"{right:.2%}", *shown])
    return rows


if __name__ == "__main__":
    main()
