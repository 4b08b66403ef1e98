"""Whether a student that begins among its teacher's other layers, and gives them up one by one, ends better.

    python benchmarks/distillation/dropping.py --seeds 6 --write

The digits of scikit-learn, a ViT of six layers as the teacher. For each seed one student is distilled as it is and with
`distill.drop_layers` until two shares of the steps: from the same start, with the same batches in the same order, as
many steps and no early stop. What counts is the difference to the same seed without dropping. Finished students are
kept in the work folder, and a killed call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import table_text, write_results
from retention import Case

from edgekd.bench.agent.facts import lasting_facts
from edgekd.distill.settings import student_settings
from edgekd.distill.train import train
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.record import HostFacts
from edgekd.stats import student_t_quantile
from edgekd.students.choose import even_layers
from edgekd.trials.bake_off import Start

UNTIL = (None, 0.3, 0.6)
CASE = "digits"


@dataclass(frozen=True)
class Student:
    """A student of the six layers of the teacher, and how it begins."""

    name: str
    layers: int
    hidden: int
    method: Any


STUDENTS = (
    Student("a third of the layers", 2, 64, "uniform"),
    Student("one layer of six", 1, 64, "uniform"),
    Student("a third of the layers, half the width", 2, 32, "rotation"),
)


def trained(case: Case, student: Student, seed: int, until: float | None) -> dict[str, Any]:
    """What came of one student, from the work folder where it is known."""
    place = make_folder(case.root / "dropping" / f"{student.layers}-{student.hidden}-{seed}-{until}")
    known = place / "result.json"
    if known.exists():
        found: dict[str, Any] = read_json(known)
        return found
    context = case.context(seed)
    taught: Lesson = lesson(context, None)
    teacher = taught.teacher_spec
    heads = teacher.heads * student.hidden // teacher.hidden
    spec = replace(
        teacher, layers=student.layers, hidden=student.hidden, heads=heads, kv_heads=heads, ffn=4 * student.hidden
    )
    start = Start(student.method, tuple(even_layers(teacher.layers, spec.layers)))
    model, _ = (taught.student if until is None else taught.scaffolded)(spec, seed, start)
    recipe = context.recipe
    settings = replace(
        student_settings(recipe.distill, recipe.budget, recipe.task), drop_until=until, final_ce_epoch=False,
        patience=recipe.distill.epochs,
    )  # fmt: skip
    done = train(model, taught.train, taught.validation, settings, place, pad_token_id=taught.pad)
    found = {
        **done.to_dict(), "student": spec.name, "seconds": done.seconds,
        "answers": case.answers(model, taught, context),
    }  # fmt: skip
    write_json(known, found)
    return found


def paired(differences: list[float]) -> tuple[float, float]:
    """The mean of paired differences, and half of its 95 % interval (Student's t)."""
    count = len(differences)
    half = student_t_quantile(0.975, count - 1) * stdev(differences) / count**0.5
    return mean(differences), half


def rows_of(case: Case, student: Student, seeds: int) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each share, and the numbers behind."""
    labels = case.teacher()["labels"]
    found = {until: [trained(case, student, seed, until) for seed in range(1, seeds + 1)] for until in UNTIL}
    right = {
        until: [mean(float(a == b) for a, b in zip(one["answers"], labels, strict=True)) for one in each]
        for until, each in found.items()
    }
    losses = {until: [_kept(one)["validation_loss"] for one in each] for until, each in found.items()}
    rows, numbers = [], {}
    for until, each in found.items():
        cells = ["-", "-", "-"]
        if until is not None:
            better = [new - old for new, old in zip(right[until], right[None], strict=True)]
            higher = [new - old for new, old in zip(losses[until], losses[None], strict=True)]
            seconds = [new["seconds"] / old["seconds"] for new, old in zip(each, found[None], strict=True)]
            (points, half), (nats, wide) = paired(better), paired(higher)
            cells = [f"{100 * points:+.2f} ± {100 * half:.2f}", f"{nats:+.4f} ± {wide:.4f}", f"{median(seconds):.2f}"]
        share = "none" if until is None else f"until {until:.0%}".replace("%", " %")
        rows.append([student.name, each[0]["student"], share, f"{mean(right[until]):.2%}", *cells])
        numbers[share] = {"accuracy": right[until], "validation_loss": losses[until],
                          "epochs": [one["best_epoch"] for one in each],
                          "seconds": [one["seconds"] for one in each]}  # fmt: skip
    return rows, numbers


def _kept(found: dict[str, Any]) -> dict[str, Any]:
    return next(record for record in found["history"] if record["epoch"] == found["best_epoch"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--work", type=Path, default=Path("runs/dropping"))
    parser.add_argument("--write", action="store_true", help="replace the results")
    asked = parser.parse_args()
    case = Case(CASE, asked.work / CASE)
    known = case.teacher()
    teacher = mean(float(a == b) for a, b in zip(known["answers"], known["labels"], strict=True))
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {"teacher_accuracy": teacher, "test_examples": len(known["labels"]), "seeds": asked.seeds}
    for student in STUDENTS:
        made, behind = rows_of(case, student, asked.seeds)
        rows += made
        numbers[student.name] = behind
    columns = ("student of", "dimensions", "dropping", "test accuracy", "points more", "validation loss more", "time")
    text = (
        f"scikit-learn's digits, {len(known['labels'])} test examples; the teacher is right on {teacher:.2%}.\n"
        f"Means over {asked.seeds} seeds; differences are to the same seed without dropping, with 95 % intervals over\n"
        "seeds. Time is the median ratio of whole trainings, evaluations included.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results(
            "dropping", "What giving up layers step by step brings", text + table_text(columns, rows), numbers, host
        )
    else:
        print(table_text(columns, rows))


if __name__ == "__main__":
    main()
