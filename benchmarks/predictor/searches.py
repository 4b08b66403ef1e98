"""Whether the search chooses what keeps the limit, and nothing larger that keeps it as well, on this machine.

    python benchmarks/predictor/searches.py [--searches 10] [--larger 6] [--write]

Each search has another latency limit, drawn between the fastest and the slowest student of its space (the seed is the
number of the search). What it chose is then measured afresh, and beside it students that are at least 10 % larger:
those that the search itself expects to be the fastest of them, and some drawn at random.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from evidence import table_text, write_results

from edgekd.errors import MeasureError
from edgekd.pipeline.context import CALIBRATION, Context, Silent
from edgekd.pipeline.run import run
from edgekd.pipeline.size import Yardstick, sizing
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts
from edgekd.sizing.limits import tail_factor
from edgekd.sizing.search import Sizing
from edgekd.student import Candidate

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95}
SST2 = Path(__file__).parents[3] / "shared" / "data" / "sst2_glue"
# Enough for a teacher that is better than guessing: a latency does not depend on what it learned.
SENTENCES = {"train": 1600, "heldout": 300, "dev": 300}
LARGER = 1.1
PAIRS = 40
INSIDE = (0.05, 0.95)  # of the way from the fastest to the slowest student, on a logarithmic scale


@dataclass(frozen=True)
class Subject:
    """A recipe whose teacher is there, and how long its fastest and its slowest student take at the median."""

    name: str
    overrides: tuple[str, ...]
    root: Path
    fastest_s: float
    slowest_s: float

    def context(self, *overrides: str) -> Context:
        """A run with these overrides in the same folder."""
        return Context(load_recipe(self.name, (*self.overrides, *overrides)), self.root, Path.cwd(), Silent())


def prepared(name: str, overrides: Sequence[str], root: Path) -> Subject:
    """Train the teacher, and see what the limits may lie between."""
    run(name, overrides, root, only="teacher")
    subject = Subject(name, tuple(overrides), root, 0, 0)
    found = sizing(subject.context("sla.latency={p50: 1 h}"), root / "scratch")
    mids = np.min([found.standing.forecasts[precision].latency.mid for precision in found.students.precisions], axis=0)
    return replace(subject, fastest_s=float(mids.min()), slowest_s=float(mids.max()))


IMAGES = (
    "space.layers={from: 1, to: 6}", "space.hidden=[32, 48, 64, 80, 96]", "space.ffn_ratio=[1, 1.5, 2, 2.5, 3, 3.5, 4]",
    "space.max_share=100 %", "sla={accuracy: 1 %}",
)  # fmt: skip


def text_overrides(folder: Path) -> list[str]:
    """A teacher of texts that has seen a few sentences, and a space of some hundred students."""
    data = folder / "sentences"
    data.mkdir()
    for part, number in SENTENCES.items():
        with (SST2 / f"{part}.tsv").open(encoding="utf-8") as lines:
            kept = [next(lines) for _ in range(number + 1)]
        (data / f"{part}.tsv").write_text("".join(kept), encoding="utf-8")
    return [
        f"data.source={data}", "teacher.fine_tune={epochs: 1, learning_rate: 1.0e-4, batch_size: 16}",
        "space.layers={from: 1, to: 6}",
        "space.hidden=[96, 128, 192, 256, 288, 320, 384]", "space.ffn_ratio=[1, 1.5, 2, 2.5, 3, 3.5, 4]",
        "space.max_share=100 %", "sla={accuracy: 1 %}",
    ]  # fmt: skip


def searched(subject: Subject, seed: int, larger: int) -> tuple[dict[str, Any], HostFacts]:
    """One search, and what its choice and the larger students really take."""
    draw = random.Random(seed)  # noqa: S311  limits, no secrets
    way = draw.uniform(*INSIDE)
    limit_s = subject.fastest_s * (subject.slowest_s / subject.fastest_s) ** way
    percentile = draw.choice(list(PERCENTILES))
    context = subject.context(f"sla.latency={{{percentile}: {limit_s * 1e6:.1f} us}}")
    shutil.rmtree(context.path(CALIBRATION), ignore_errors=True)
    begun_s = time.monotonic()
    found = sizing(context, subject.root / "scratch")
    took_s = time.monotonic() - begun_s
    if found.chosen is None:
        raise MeasureError(f"search {seed}: no student keeps {limit_s} s at {percentile}: {found.obstacle}")
    chosen = [Candidate(found.chosen.spec, precision, found.chosen.sequence) for precision in found.fitting]
    others = challengers(found, draw, larger)
    times, host = afresh(context, found, [*chosen, *others])
    percent = PERCENTILES[percentile]
    ratios = {name: time_s * tail_factor(percent, found.standing.spread) / limit_s for name, time_s in times.items()}
    kept = {one.name: ratios[one.name] for one in chosen}
    beaten = {one.name: ratios[one.name] for one in others}
    return {
        "recipe": subject.name, "seed": seed, "limit": {percentile: limit_s}, "students": found.possible,
        "chosen": found.chosen.name, "took_s": took_s, "measured": len(found.measurements),
        "value_over_limit": kept, "met": max(kept.values()) <= 1,
        "larger_value_over_limit": beaten, "larger_within": sorted(name for name in beaten if beaten[name] <= 1),
        "prediction_error": None if found.error is None else found.error.median,
    }, host  # fmt: skip


def challengers(found: Sizing, draw: random.Random, number: int) -> list[Candidate]:
    """Candidates that are at least 10 % larger than the choice: two in three the fastest ones, the others at random."""
    table, standing = found.students, found.standing
    assert found.chosen is not None  # noqa: S101  the caller has looked
    rows = np.flatnonzero(table.capacity >= LARGER * found.chosen.capacity)
    all_of_them = [
        (float(standing.forecasts[precision].latency.mid[row]), int(row), precision)
        for precision in table.precisions
        for row in rows
    ]
    all_of_them.sort()
    nearest = all_of_them[: number - number // 3]
    rest = all_of_them[len(nearest) :]
    taken = [*nearest, *draw.sample(rest, min(number // 3, len(rest)))]
    return [Candidate(table.specs.spec(row), precision) for _, row, precision in taken]


def afresh(context: Context, found: Sizing, candidates: Sequence[Candidate]) -> tuple[dict[str, float], HostFacts]:
    """The undisturbed median of each of `candidates`, from measurements that the search has not seen."""
    recipe = context.recipe.model_copy(update={"search": context.recipe.search.model_copy(update={"pairs": PAIRS})})
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        again = Context(recipe, context.root, context.base, Silent())
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        yardstick = Yardstick(again, Path(folder) / "visits", scratch, found.teacher.spec)
        measured = yardstick.measured(candidates)
    return {name: one.latency_s for name, one in measured.items()}, yardstick.records[0].host


COLUMNS = (
    "search", "recipe", "students", "limit", "chosen", "took", "its value / limit", "nearest larger / limit",
    "larger within",
)  # fmt: skip


def row(one: dict[str, Any]) -> list[str]:
    """The cells of one search."""
    ((percentile, limit_s),) = one["limit"].items()
    values = [f"{value:.3f} {name.rsplit('-', 1)[1]}" for name, value in one["value_over_limit"].items()]
    larger = one["larger_value_over_limit"].values()
    nearest = f"{min(larger):.3f} of {len(larger)}" if larger else "none is larger"
    within = ", ".join(one["larger_within"]) or "none"
    return [
        str(one["seed"]), one["recipe"], str(one["students"]), f"{percentile} <= {limit_s * 1e3:.3g} ms", one["chosen"],
        f"{one['took_s']:.0f} s", ", ".join(values), nearest, within,
    ]  # fmt: skip


TEXT = """\
Each row is a search with a latency limit of its own, drawn between the fastest and the slowest student of the space,
with measurements of its own. Afterwards the chosen student was measured again in each precision that the search said
keeps the limit, and so were candidates that are at least 10 % larger: those expected to be the fastest of them, and
some at random. A value is the undisturbed median in pairs with the sentinel, at the limit's percentile."""


def main() -> int:
    """Run the searches and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--larger", type=int, default=6)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    results: list[dict[str, Any]] = []
    host = None
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        subjects = [prepared("quickstart", IMAGES, Path(folder) / "images")]
        if SST2.is_dir():
            subjects.append(prepared("sst2", text_overrides(Path(folder)), Path(folder) / "texts"))
        else:
            print(f"{SST2} is not there: images only", file=sys.stderr)
        for seed in range(chosen.searches):
            found, host = searched(subjects[seed % len(subjects)], seed, chosen.larger)
            results.append(found)
            print(" | ".join(row(found)), json.dumps(found), flush=True)
    met = sum(one["met"] for one in results)
    missed = sum(bool(one["larger_within"]) for one in results)
    worst = max(max(one["value_over_limit"].values()) for one in results)
    unused = median(1 - max(one["value_over_limit"].values()) for one in results)
    told = (
        f"{met} of {len(results)} chosen students keep their limit (the worst takes {worst:.1%} of it; the median "
        f"leaves {unused:.1%} unused); in {missed} of {len(results)} a sampled larger one keeps it as well."
    )
    print(told)
    if chosen.write and host is not None:
        text = f"{TEXT}\n\n{told}\n\n{table_text(COLUMNS, [row(one) for one in results])}"
        write_results("predictor_searches", "Ten searches with ten limits", text, {"searches": results}, host)
    return 0 if met == len(results) and math.isfinite(worst) else 1


if __name__ == "__main__":
    sys.exit(main())
