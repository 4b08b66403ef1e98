"""How much of its teacher's accuracy a student keeps, by the share of its parameters.

    python benchmarks/distillation/retention.py --case banking77 --seeds 3 --write

Everything is what a run does for the student it has chosen: the teacher fine-tuned and its answers cached by the steps
of `edgekd run`, the start compared, the training stopped by the validation part. The test part is opened once for each
student, after its training. Finished students are kept in the work folder, and a killed call goes on where it stopped:
`--minutes N` begins no further student after that. With --write the results keep every student, also those of earlier
calls in other work folders, so the runs may be spread over days and machines.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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

from evidence import RESULTS, table_text, write_results
from retention_table import COLUMNS, added, known_cases, rows_of

HERE = Path(__file__).parent
FFN_STEP = 32


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
    "sst2-all": (Size(0.5, 3), Size(0.35, 2), Size(0.2, 2), Size(0.1, 1)),
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
        self.recipe = str(HERE / f"{self.name}.yaml")
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


def finished(case: Case, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """What the work folder knows of each size's students."""
    return {
        size.name: [
            {**told, "seed": seed, "student": StudentSpec.from_dict(told["spec"]).name}
            for seed in range(1, seeds + 1)
            if (told := case.student(size, seed)) is not None
        ]
        for size in CASES[case.name]
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--first-seed", type=int, default=1, help="where other folders have the seeds before it")
    parser.add_argument("--seeds", type=int, default=3, help="up to which one")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path, default=Path("runs/retention"))
    parser.add_argument("--write", action="store_true", help="add what is finished to the results")
    asked = parser.parse_args()
    begun = time.monotonic()
    cases = {name: Case(name, asked.work / name) for name in asked.case or CASES}
    for seed in range(asked.first_seed, asked.seeds + 1):
        for name, case in cases.items():
            for size in CASES[name]:
                if case.student(size, seed) is None and time.monotonic() - begun < 60 * asked.minutes:
                    print(f"{name}, {size.name}, seed {seed}", flush=True)
                    case.train(size, seed)
    known = known_cases(RESULTS / "retention" / "result.json") if asked.write else {}
    for name, case in cases.items():
        known[name] = added(known.get(name), case.teacher(), finished(case, asked.seeds))
    rows = [row for name in CASES if name in known for row in rows_of(name, known[name], [s.name for s in CASES[name]])]
    text = (
        "Students of one teacher by their parameters outside the embeddings, as shares of the teacher's. `retained`\n"
        "is the mean accuracy of the students on the test part by that of their teachers; its interval is over test\n"
        "examples, drawn for all of them together. `start` is what the comparison of starts chose. Results add up:\n"
        "named below is what made the last of them; result.json has every student, with what it answers rightly.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("retention", "What students keep", text + table_text(COLUMNS, rows), {"cases": known}, host)
    else:
        print(table_text(COLUMNS, rows))


if __name__ == "__main__":
    main()
