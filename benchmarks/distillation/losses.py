"""What each loss gives: students that differ in nothing but the loss they are taught with.

    python benchmarks/distillation/losses.py --case mnist --examples 3000 --seeds 5 --write

The teacher has seen the whole training part; students learn from `--examples` of it, the same ones for all losses of a
seed, for a teacher is worth least where labels abound. Students of one seed begin with the same weights, see the same
batches and take the same steps, without a last epoch on labels alone; the epoch that is best on the validation part
counts, as everywhere. The test part is opened once for each student, after its training. Finished students are kept in
the work folder, so a killed call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import RESULTS, table_text, write_results
from retention import CASES, Case, Size, student_of

from edgekd.bench.agent.facts import lasting_facts
from edgekd.distill.settings import student_settings
from edgekd.distill.train import train
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.begin import start_of
from edgekd.pipeline.lesson import lesson
from edgekd.record import HostFacts
from edgekd.student import StudentSpec

FADING = "{from: 1, to: 0, until: 30 %}"
USUAL = "kl"
# Each loss as its authors use it, and as docs/distillation.md says.
LOSSES: dict[str, list[str]] = {
    "labels alone": ["distill.alpha=0"],
    USUAL: [],
    "reverse_kl": ["distill.loss=reverse_kl"],
    "jensen_shannon": ["distill.loss=jensen_shannon"],
    "dkd": ["distill.loss=dkd"],
    "dist": ["distill.loss=dist", "distill.temperature=1"],
    "standardised": ["distill.loss=standardised", "distill.temperature=2"],
    "kl, hidden fading": [f"distill.hidden={{weight: {FADING}}}"],
    "kl, hidden": ["distill.hidden={weight: 1}"],
    "kl, relations": ["distill.relations={weight: 1, heads: 4}"],
    "kl, T from 8 to 2": ["distill.temperature={from: 8, to: 2}"],
}
HERE = Path(__file__).parent
DRAWS = 2000


def answers(case: Case, size: Size, seed: int, name: str, examples: int) -> dict[str, Any]:
    """What a student that was taught with this loss answers to the test part, and how its training went."""
    place = (
        case.root / "losses" / f"{round(100 * size.share)}-{examples}-{seed}-{name.replace(' ', '_').replace(',', '')}"
    )
    known = place / "result.json"
    if not known.exists():
        context = case.context(seed, [*LOSSES[name], "distill.final_ce_epoch=false"])
        taught, folder = lesson(context, None), make_folder(place)
        spec = student_of(taught.teacher_spec, size)
        student, _ = taught.student(spec, seed, start_of(context, taught, spec))
        recipe = context.recipe
        settings = replace(
            student_settings(recipe.distill, recipe.budget, recipe.task),
            patience=recipe.distill.epochs,
            max_examples=examples,
        )
        begun = time.monotonic()
        result = train(
            student, taught.train, taught.validation, settings, folder, teacher=taught.teacher, pad_token_id=taught.pad
        )
        write_json(known, {
            "student": spec.name, "answers": case.answers(student, taught, context), "epoch": result.best_epoch,
            "loss": result.best.validation_loss, "calibration_error": result.best.calibration_error,
            "seconds": time.monotonic() - begun,
        })  # fmt: skip
    found: dict[str, Any] = read_json(known)
    return found


def against(right: NDArray[Any], usual: NDArray[Any]) -> tuple[float, float, float]:
    """The mean lead of one loss over another, and a 95 % interval over seeds and test examples drawn again, in pairs.

    Shapes: both [seeds, examples], 0 or 1. Units: shares.
    """
    rng = np.random.default_rng(0)
    lead = right - usual
    seeds, examples = lead.shape
    drawn = [lead[rng.integers(0, seeds, seeds)][:, rng.integers(0, examples, examples)].mean() for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(lead.mean()), float(low), float(high)


def rows_of(case: Case, size: Size, seeds: int, examples: int) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each loss, and the numbers behind."""
    labels = np.array(case.teacher()["labels"])
    told = {name: [answers(case, size, seed, name, examples) for seed in range(1, seeds + 1)] for name in LOSSES}
    right = {
        name: np.array([np.array(one["answers"]) == labels for one in found]).astype(float)
        for name, found in told.items()
    }
    rows, numbers = [], {}
    for name, found in told.items():
        lead, low, high = against(right[name], right[USUAL])
        shown = "" if name == USUAL else f"{100 * lead:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        calibration = float(np.mean([one["calibration_error"] for one in found]))
        seconds = float(np.mean([one["seconds"] for one in found]))
        rows.append([
            case.name, str(examples), found[0]["student"], name, str(seeds), f"{right[name].mean():.2%}", shown,
            f"{calibration:.3f}",
            f"{np.mean([one['loss'] for one in found]):.4f}",
        ])  # fmt: skip
        numbers[name] = {
            "accuracy": right[name].mean(axis=1).tolist(), "lead": [lead, low, high], "seconds": seconds,
            "calibration_error": calibration, "epochs": [one["epoch"] for one in found],
        }  # fmt: skip
    return rows, numbers


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", choices=list(CASES), default="mnist")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=3000, help="of the training part, for students")
    parser.add_argument("--work", type=Path, default=Path("runs/retention"))
    parser.add_argument("--write", action="store_true", help="replace the results of this case, keep those of others")
    asked = parser.parse_args()
    case = Case(asked.case, asked.work / asked.case)
    size = next(size for size in CASES[asked.case] if size.share == asked.share)
    for seed in range(1, asked.seeds + 1):
        for name in LOSSES:
            print(f"{asked.case}, {name}, seed {seed}", flush=True)
            answers(case, size, seed, name, asked.examples)
    rows, numbers = rows_of(case, size, asked.seeds, asked.examples)
    stored = RESULTS / "distillation_losses" / "result.json"
    known = read_json(stored)["cases"] if asked.write and stored.exists() else {}
    spec = StudentSpec.from_dict(case.teacher()["spec"])
    known[asked.case] = {"teacher": spec.name, "rows": rows, "numbers": numbers}
    columns = (
        "data", "examples", "student", "loss", "seeds", "right", f"points against {USUAL} (95 %)", "calibration error",
        "validation loss",
    )  # fmt: skip
    text = (
        "`right` is the mean accuracy of the students on the test part, `examples` are those they learned from; the\n"
        "teacher had all. Leads are in points, in pairs of students that begin alike, with an interval over seeds and\n"
        "test examples drawn again. Calibration error and cross entropy are those of the validation part.\n\n"
        + "\n\n".join(table_text(columns, found["rows"]) for found in known.values())
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("distillation_losses", "What each loss gives", text, {"cases": known}, host)
    else:
        print(text)


if __name__ == "__main__":
    main()
