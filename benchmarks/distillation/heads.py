"""Which heads a narrower student should keep: those that write most, or those on which the loss hangs most.

    python benchmarks/distillation/heads.py --write

The digits of scikit-learn, the teacher of dropping.py with four heads a layer. Students of all its layers and fewer
heads begin by `uniform`, `importance` and `gates`; their cross entropy on the validation part is told before any step,
and after two epochs of distillation over seeds, as differences to `importance` with the same seed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from dropping import CASE, paired
from evidence import table_text, write_results
from retention import Case

from edgekd.bench.agent.facts import lasting_facts
from edgekd.distill.settings import student_settings
from edgekd.distill.short import Stretch, train_short
from edgekd.distill.tasks import task_of
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.lesson import lesson
from edgekd.record import HostFacts
from edgekd.trials.bake_off import Start

METHODS = ("uniform", "importance", "gates")
HEADS = (3, 2, 1)
EPOCHS = 2


def begun(case: Case, heads: int, method: Any, seed: int) -> dict[str, Any]:
    """The losses of one student, and which heads it kept; from the work folder where they are known."""
    place = make_folder(case.root / "heads" / f"{heads}-{method}-{seed}")
    known = place / "result.json"
    if known.exists():
        found: dict[str, Any] = read_json(known)
        return found
    context = case.context(seed)
    taught = lesson(context, None)
    teacher = taught.teacher_spec
    hidden = teacher.head_dim * heads
    spec = replace(teacher, heads=heads, kv_heads=heads, hidden=hidden, ffn=4 * hidden)
    student, done = taught.student(spec, seed, Start(method, tuple(range(teacher.layers))))
    settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
    before = task_of(context.recipe.task).answers(student, taught.validation, 64, taught.pad).loss
    steps = EPOCHS * -(-len(taught.train) // settings.batch_size)
    short = train_short(
        student, taught.train, taught.validation, settings, Stretch(steps, steps, max(1, steps // 20)),
        place / "training", pad_token_id=taught.pad,
    )  # fmt: skip
    found = {"student": spec.name, "heads": done.heads, "before": before, "after": float(short.losses.mean())}
    write_json(known, found)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/dropping"))
    parser.add_argument("--write", action="store_true", help="replace the results")
    asked = parser.parse_args()
    case = Case(CASE, asked.work / CASE)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {"seeds": asked.seeds}
    for heads in HEADS:
        found = {method: [begun(case, heads, method, seed + 1) for seed in range(asked.seeds)] for method in METHODS}
        base = [one["after"] for one in found["importance"]]
        for method, each in found.items():
            after = [one["after"] for one in each]
            nats, half = paired([own - its for own, its in zip(after, base, strict=True)])
            more = "-" if method == "importance" else f"{nats:+.3f} ± {half:.3f}"
            before = mean(one["before"] for one in each)
            rows.append([f"{heads} of 4", each[0]["student"], method, f"{before:.3f}", f"{mean(after):.3f}", more])
            numbers[f"{heads} {method}"] = {"before": before, "after": after, "heads": each[0]["heads"]}
    columns = ("heads", "dimensions", "start", "loss before", "loss after", "more than importance")
    text = (
        f"Cross entropy on the validation part of scikit-learn's digits, before any step and after {EPOCHS} epochs,\n"
        f"means over {asked.seeds} seeds; differences are to importance with the same seed, with 95 % intervals over\n"
        "seeds.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("heads", "Which heads a student should keep", text + table_text(columns, rows), numbers, host)
    else:
        print(table_text(columns, rows))


if __name__ == "__main__":
    main()
