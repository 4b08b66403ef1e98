"""How much of its teacher's accuracy a student keeps, by the share of its parameters.

    python benchmarks/distillation/retention.py --case banking77 --seeds 3 --write

Everything is what a run does for the student it has chosen: the teacher fine-tuned and its answers cached by the steps
of `edgekd run`, the start compared, the training stopped by the validation part. The test part is opened once for each
student, after its training. Finished students are kept in the work folder, and a killed call goes on where it stopped,
so the runs may be spread over days: `--minutes N` begins no further student after that.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.agent.facts import lasting_facts
from edgekd.cost.count import count
from edgekd.data.encode import encode
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.settings import student_settings
from edgekd.distill.train import train
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.begin import begin
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.pipeline.run import run
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts
from edgekd.sizing.price import vocabulary_parameters
from edgekd.student import StudentSpec

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import table_text, write_results

HERE = Path(__file__).parent
FFN_STEP = 32
DRAWS = 2000


@dataclass(frozen=True)
class Size:
    """A student of at most `share` of the teacher's parameters outside the embeddings, in so many layers."""

    share: float
    layers: int
    hidden: int | None = None
    heads: int | None = None

    @property
    def name(self) -> str:
        """'35 %'."""
        return f"{self.share:.0%}".replace("%", " %")


CASES = {
    "banking77": (Size(0.5, 3), Size(0.35, 2), Size(0.2, 2), Size(0.1, 1)),
    "sst2": (Size(0.5, 3), Size(0.35, 2), Size(0.2, 2), Size(0.1, 1)),
    "mnist": (Size(0.5, 3), Size(0.35, 3, 80, 5), Size(0.2, 2, 64, 4), Size(0.1, 2, 48, 3)),
    "digits": (Size(0.5, 3), Size(0.35, 2), Size(0.2, 2, 48, 3), Size(0.1, 2, 32, 2)),
}


def capacity(spec: StudentSpec) -> int:
    """The parameters outside the embeddings."""
    tokens = 0 if spec.family == "vit" else 8  # a ViT reads as many as its image has
    return count(spec, batch=1, sequence=tokens, precision="fp32").parameters - vocabulary_parameters(spec)


def student_of(teacher: StudentSpec, size: Size) -> StudentSpec:
    """The student of `size` with the widest feed-forward blocks, in steps of 32, that its share allows."""
    hidden, heads = size.hidden or teacher.hidden, size.heads or teacher.heads
    most = size.share * capacity(teacher)
    table = teacher.to_dict() | {"layers": size.layers, "hidden": hidden, "heads": heads, "kv_heads": heads}
    fitting = [
        spec
        for ffn in range(FFN_STEP, teacher.ffn + 1, FFN_STEP)
        if capacity(spec := StudentSpec.from_dict({**table, "ffn": ffn})) <= most
    ]
    if not fitting:
        raise SystemExit(f"{size.name}: no student in {size.layers} layers of {hidden} is small enough")
    return fitting[-1]


@dataclass
class Case:
    """One data set: its teacher, and the students that were finished."""

    name: str
    root: Path

    def __post_init__(self) -> None:
        own = HERE / f"{self.name}.yaml"
        self.recipe = str(own) if own.exists() else self.name
        run(self.recipe, (), self.root, only="teacher")

    def context(self, seed: int, overrides: Sequence[str] = ()) -> Context:
        """The run folder, with the seed of a student's training and with what else is to differ from the recipe."""
        return Context(load_recipe(self.recipe, [f"distill.seed={seed}", *overrides]), self.root, Path.cwd())

    def answers(self, model: Any, taught: Lesson, context: Context) -> list[int]:
        """What `model` answers to the test part."""
        test = encode(context.splits.test, taught.preprocessing, taught.tokenizer)
        found: list[int] = predict_logits(model, test, 64, taught.pad).argmax(axis=-1).tolist()
        return found

    def teacher(self) -> dict[str, Any]:
        """What the teacher answers, and what is right."""
        path = self.root / "test-teacher.json"
        if not path.exists():
            context = self.context(17)
            taught = lesson(context, None)
            write_json(path, {
                "spec": taught.teacher_spec.to_dict(), "answers": self.answers(taught.teacher, taught, context),
                "labels": context.splits.test.labels.tolist(),
            })  # fmt: skip
        table: dict[str, Any] = read_json(path)
        return table

    def student(self, size: Size, seed: int) -> dict[str, Any] | None:
        """What is known of a student; None before it was trained."""
        path = self._place(size, seed) / "result.json"
        return read_json(path) if path.exists() else None

    def _place(self, size: Size, seed: int) -> Path:
        return self.root / "students" / f"{round(100 * size.share)}-{seed}"

    def train(self, size: Size, seed: int) -> None:
        """Train one student and let it answer the test part."""
        self.distilled(student_of(StudentSpec.from_dict(self.teacher()["spec"]), size), seed, self._place(size, seed))

    def distilled(self, spec: StudentSpec, seed: int, folder: Path) -> None:
        """Train the student `spec` in `folder`, where result.json then says what it answers to the test part."""
        context, place = self.context(seed), make_folder(folder)
        taught = lesson(context, None)
        student, begun = begin(context, taught, spec, place)
        settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
        taught_without = replace(taught, teacher=None)
        result = train(student, taught_without.train, taught.validation, settings, place, pad_token_id=taught.pad)
        write_json(place / "result.json", {
            **result.to_dict(), "seconds": result.seconds, "spec": spec.to_dict(), "initialisation": begun,
            "share": capacity(spec) / capacity(taught.teacher_spec),
            "answers": self.answers(student, taught, context),
        })  # fmt: skip


def retained(right: NDArray[Any], teacher: NDArray[Any]) -> tuple[float, float, float]:
    """The students' mean accuracy by the teacher's, and a 95 % interval over test examples, drawn for both together.

    Shapes: `right` [students, examples], `teacher` [examples]; both 0 or 1.
    """
    rng = np.random.default_rng(0)
    mean = right.mean(axis=0)
    drawn = rng.integers(0, len(teacher), (DRAWS, len(teacher)))
    ratios = mean[drawn].mean(axis=1) / teacher[drawn].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(mean.mean() / teacher.mean()), float(low), float(high)


def rows_of(case: Case, seeds: int) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each size with finished students, and the numbers behind."""
    known = case.teacher()
    labels = np.array(known["labels"])
    teacher = (np.array(known["answers"]) == labels).astype(float)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {"teacher_accuracy": float(teacher.mean()), "test_examples": len(labels)}
    for size in CASES[case.name]:
        found = [(seed, told) for seed in range(1, seeds + 1) if (told := case.student(size, seed)) is not None]
        if not found:
            continue
        right = np.array([np.array(told["answers"]) == labels for _, told in found]).astype(float)
        share, low, high = retained(right, teacher)
        spec = StudentSpec.from_dict(found[0][1]["spec"])
        starts = sorted({told["initialisation"]["method"] for _, told in found})
        minutes = np.mean([told["seconds"] for _, told in found]) / 60
        rows.append([
            case.name, size.name, spec.name, f"{found[0][1]['share']:.1%}", str(len(found)), f"{teacher.mean():.4f}",
            f"{right.mean():.4f}", f"{share:.1%}", f"{low:.1%} to {high:.1%}", ", ".join(starts), f"{minutes:.1f} min",
        ])  # fmt: skip
        numbers[size.name] = {
            "student": spec.name, "share": found[0][1]["share"], "retained": share, "interval": [low, high],
            "accuracy": {seed: float(row.mean()) for (seed, _), row in zip(found, right, strict=True)},
            "starts": {seed: told["initialisation"]["compared"] for seed, told in found},
            "epochs": {seed: [told["best_epoch"], len(told["history"])] for seed, told in found},
        }  # fmt: skip
    return rows, numbers


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path, default=Path("runs/retention"))
    parser.add_argument("--write", action="store_true", help="replace the results with what is finished")
    asked = parser.parse_args()
    begun = time.monotonic()
    cases = {name: Case(name, asked.work / name) for name in asked.case or CASES}
    for seed in range(1, asked.seeds + 1):
        for name, case in cases.items():
            for size in CASES[name]:
                if case.student(size, seed) is None and time.monotonic() - begun < 60 * asked.minutes:
                    print(f"{name}, {size.name}, seed {seed}", flush=True)
                    case.train(size, seed)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {}
    for name, case in cases.items():
        of_case, numbers[name] = rows_of(case, asked.seeds)
        rows += of_case
    columns = (
        "data", "at most", "student", "parameters", "seeds", "teacher right", "student right", "retained",
        "95 % interval", "start", "training",
    )  # fmt: skip
    text = (
        "Students of one teacher by their parameters outside the embeddings, as shares of the teacher's. `retained`\n"
        "is the mean accuracy of the students on the test part by the teacher's; its interval is over test examples,\n"
        "drawn for teacher and students together. `start` is what the comparison of starts chose.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("retention", "What students keep", text + table_text(columns, rows), numbers, host)
    else:
        print(table_text(columns, rows))


if __name__ == "__main__":
    main()
