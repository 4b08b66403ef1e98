"""How much of a sentence encoder's order of texts a student keeps, by the share of its parameters.

    python benchmarks/distillation/embedding.py --write

Everything is what a run does for the student it has chosen: the teacher's vectors cached, the student started from the
teacher's weights and trained on texts alone, the epoch chosen by the validation part. The test part is opened once for
each student, after its training; beside it stands the student as it began, before any training. Finished students are
kept in the work folder, and a killed call goes on where it stopped: `--minutes N` begins no further student after that.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.agent.facts import lasting_facts
from edgekd.data.encode import encode
from edgekd.distill.settings import student_settings
from edgekd.distill.tasks.embedding import predict_embeddings
from edgekd.distill.train import train
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.begin import begin
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.pipeline.run import run
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts
from edgekd.retrieval import NEIGHBOURS, neighbours, pair_similarities, spearman
from edgekd.student import StudentSpec

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from evidence import table_text, write_results
from retention import Size, capacity, student_of
from retention_table import DRAWS

RECIPE = str(Path(__file__).parent / "embedding.yaml")
SIZES = (Size(0.5, 3), Size(0.35, 2), Size(0.2, 2))
MEASURES = ("top-1", "recall@10", "Spearman")

Interval = tuple[float, float, float]


@dataclass
class Case:
    """The run folder with the teacher, and the students that were finished."""

    root: Path

    def __post_init__(self) -> None:
        run(RECIPE, (), self.root, only="teacher")

    @cached_property
    def context(self) -> Context:
        """The run folder."""
        return Context(load_recipe(RECIPE), self.root, Path.cwd())

    @cached_property
    def lesson(self) -> Lesson:
        """The data with the teacher's vectors."""
        return lesson(self.context, None)

    def vectors(self, model: Any) -> NDArray[np.float32]:
        """What `model` makes of the test part."""
        taught = self.lesson
        return predict_embeddings(
            model, encode(self.context.splits.test, taught.preprocessing, taught.tokenizer), 64, taught.pad
        )

    @cached_property
    def teacher(self) -> NDArray[np.float32]:
        """What the teacher makes of the test part."""
        path = self.root / "test-teacher.npy"
        if not path.exists():
            np.save(path, self.vectors(self.lesson.teacher))
        found: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return found

    def place(self, size: Size) -> Path:
        """The folder of a student."""
        return self.root / "students" / f"{round(100 * size.share)}"

    def train(self, size: Size) -> None:
        """Train one student, and keep its vectors of the test part, from before and after."""
        taught, recipe, place = self.lesson, self.context.recipe, make_folder(self.place(size))
        spec = student_of(taught.teacher_spec, size)
        student, begun = begin(self.context, taught, spec, place)
        np.save(place / "begun.npy", self.vectors(student))
        settings = replace(student_settings(recipe.distill, recipe.budget, recipe.task), max_seconds=None)
        result = train(student, taught.train, taught.validation, settings, place, pad_token_id=taught.pad)
        np.save(place / "trained.npy", self.vectors(student))
        write_json(place / "result.json", {
            **result.to_dict(), "seconds": result.seconds, "spec": spec.to_dict(), "start": begun["method"],
            "share": capacity(spec) / capacity(taught.teacher_spec),
        })  # fmt: skip


def measured(student: NDArray[Any], teacher: NDArray[Any]) -> dict[str, Interval]:
    """Each of MEASURES with its 95 % interval over test texts. Shapes: [texts, width], the widths may differ."""
    rng = np.random.default_rng(0)
    ours, its = neighbours(student, NEIGHBOURS), neighbours(teacher, NEIGHBOURS)
    hits = (ours[:, 0] == its[:, 0]).astype(float)
    shared = (ours[:, :, None] == its[:, None, :]).any(axis=2).mean(axis=1)
    drawn = rng.integers(0, len(hits), (DRAWS, len(hits)))
    found = {name: _interval(values.mean(), values[drawn].mean(axis=1))
             for name, values in zip(MEASURES, (hits, shared), strict=False)}  # fmt: skip
    one, other = pair_similarities(student), pair_similarities(teacher)
    return found | {MEASURES[2]: _interval(spearman(one, other), _spearman_draws(one, other, rng))}


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(value), float(low), float(high)


def _spearman_draws(one: NDArray[Any], other: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """The rank correlation of the pairs among texts that are drawn anew, their ranks as they were among all."""
    texts = round((1 + (1 + 8 * len(one)) ** 0.5) / 2)
    corner = np.triu_indices(texts, 1)
    tables = []
    for values in (one, other):
        table = np.zeros((texts, texts))
        table[corner] = values.argsort().argsort()
        tables.append(table + table.T)
    ours, its = tables
    sides = (np.ones((texts, texts)) - np.eye(texts), ours, its, ours * its, ours**2, its**2)
    found = []
    for _ in range(DRAWS // 10):
        weights = np.bincount(rng.integers(0, texts, texts), minlength=texts).astype(float)
        count, a, b, ab, aa, bb = (weights @ side @ weights for side in sides)
        found.append((ab - a * b / count) / ((aa - a * a / count) * (bb - b * b / count)) ** 0.5)
    return np.array(found)


def rows_of(case: Case) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each finished student, and the numbers behind."""
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {"test_texts": len(case.teacher), "dimensions": case.teacher.shape[1]}
    for size in SIZES:
        place = case.place(size)
        if not (place / "result.json").exists():
            continue
        told = read_json(place / "result.json")
        before, after = (
            measured(np.load(place / f"{name}.npy", allow_pickle=False), case.teacher) for name in ("begun", "trained")
        )
        spec = StudentSpec.from_dict(told["spec"])
        rows.append([
            size.name, spec.name, f"{told['share']:.1%}", f"{before['top-1'][0]:.1%}",
            *(f"{after[name][0]:.1%} ({after[name][1]:.1%} to {after[name][2]:.1%})" for name in MEASURES[:2]),
            "{:.3f} ({:.3f} to {:.3f})".format(*after["Spearman"]), f"{told['best_epoch']} of {len(told['history'])}",
            f"{told['seconds'] / 60:.1f} min",
        ])  # fmt: skip
        numbers[size.name] = {
            "student": spec.name, "share": told["share"], "start": told["start"], "begun": before, "trained": after,
            "epochs": [told["best_epoch"], len(told["history"])], "seconds": told["seconds"],
        }  # fmt: skip
    return rows, numbers


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path, default=Path("runs/embedding"))
    parser.add_argument("--write", action="store_true", help="replace the results with what is finished")
    asked = parser.parse_args()
    begun = time.monotonic()
    case = Case(asked.work)
    for size in reversed(SIZES):
        if not (case.place(size) / "result.json").exists() and time.monotonic() - begun < 60 * asked.minutes:
            print(f"{size.name}", flush=True)
            case.train(size)
    columns = (
        "at most", "student", "parameters", "top-1 before training", *MEASURES, "epoch kept", "training",
    )  # fmt: skip
    rows, numbers = rows_of(case)
    text = (
        "Students of the sentence encoder MiniLM (384 dimensions) by their parameters outside the embeddings, as\n"
        "shares of the teacher's; taught on the training texts of Banking77 without labels, judged on its test texts.\n"
        "top-1: how often a text's nearest other text is the teacher's; recall@10: how many of the teacher's ten\n"
        "nearest are among the student's ten; Spearman: of the cosines of all pairs of 2000 texts. In brackets 95 %\n"
        "intervals over test texts; for Spearman with the ranks of all texts.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        title = "What students of a sentence encoder keep"
        write_results("embedding", title, text + table_text(columns, rows), numbers, host)
    else:
        print(table_text(columns, rows))


if __name__ == "__main__":
    main()
