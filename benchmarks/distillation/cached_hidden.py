"""Steps per second with the teacher's hidden states and relations from disk, and with the teacher beside the student.

    python benchmarks/distillation/cached_hidden.py --write

Teacher and student are untrained, for a step takes as long whatever the weights are; texts are random tokens of many
lengths. Both ways take turns (A B A B ...) with the same student and the same batches in the same order. Each turn is a
short training of its own, whose first steps do not count. The median of the ratios of neighbouring turns does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import datasets
import numpy as np
import torch
from evidence import table_text, write_results

from edgekd.bench.agent.facts import lasting_facts
from edgekd.distill.feature_cache import StoredFeatures, stored_features
from edgekd.distill.features import feature_pairs, wanted_of
from edgekd.distill.quiet import silent_libraries
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.train import train
from edgekd.record import HostFacts
from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.units import text_from_bytes, text_from_s

VOCABULARY, LONGEST, BATCH = 2000, 64, 32
WARM_STEPS = 2  # of each turn; they fill caches and are not counted


@dataclass(frozen=True)
class Case:
    """A teacher and a student, each layers x width x heads, and whether relations are looked at besides."""

    name: str
    teacher: tuple[int, int, int]
    student: tuple[int, int, int]
    relations: bool


CASES = (
    Case("MiniLM to half its layers, hidden states", (6, 384, 12), (3, 384, 12), relations=False),
    Case("MiniLM to half its layers, relations besides", (6, 384, 12), (3, 384, 12), relations=True),
    Case("BERT base to four layers of 312, hidden states", (12, 768, 12), (4, 312, 12), relations=False),
)


def spec_of(dimensions: tuple[int, int, int]) -> StudentSpec:
    """A BERT with two classes."""
    layers, hidden, heads = dimensions
    return StudentSpec(
        architecture="bert", layers=layers, hidden=hidden, heads=heads, ffn=4 * hidden, vocabulary=VOCABULARY,
        positions=LONGEST, token_types=2, labels=2,
    )  # fmt: skip


def texts(rows: int, seed: int) -> datasets.Dataset:
    """Random tokens, 8 to 64 of them, and random labels."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1, VOCABULARY, int(length)).tolist() for length in rng.integers(8, LONGEST + 1, rows)]
    return datasets.Dataset.from_dict({
        "input_ids": ids, "attention_mask": [[1] * len(row) for row in ids],
        "labels": rng.integers(0, 2, rows).tolist(), "row": list(range(rows)),
    })  # fmt: skip


def settings_of(case: Case) -> TrainingSettings:
    """One epoch on labels and features."""
    relations = RelationsTerm(1.0, 12) if case.relations else None
    return TrainingSettings(
        epochs=1, learning_rate=1e-4, batch_size=BATCH, hidden=HiddenTerm(1.0), relations=relations, seed=1
    )


def step_s(case: Case, teacher: Any, rows: datasets.Dataset, features: StoredFeatures | None, folder: Path) -> float:
    """The median time of a step in a training of its own. Units: seconds."""
    times: list[float] = []
    student = build(spec_of(case.student), seed=1)
    train(
        student, rows, rows.select(range(2)), settings_of(case), folder / "run", teacher=teacher, features=features,
        pad_token_id=0, on_progress=lambda _: times.append(time.perf_counter()),
    )  # fmt: skip
    return median(after - before for before, after in pairwise(times[WARM_STEPS:]))


def ratios_of(turns: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """How many times as many steps a second the second of each pair makes: median, least and greatest of the pairs."""
    found = [beside / stored for beside, stored in turns]
    return median(found), min(found), max(found)


def measured(case: Case, pairs: int, steps: int, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """A table row, and the numbers behind it."""
    teacher, rows = build(spec_of(case.teacher), seed=0), texts(steps * BATCH, 0)
    settings = settings_of(case)
    wanted = wanted_of(*feature_pairs(settings.hidden, settings.relations, case.student[0], case.teacher[0]))
    begun = time.perf_counter()
    features = stored_features(teacher, rows, folder / "cache", wanted, batch_size=64, pad_token_id=0)
    storing_s = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in folder.glob("cache/*/shard-*"))
    turns = [
        (step_s(case, teacher, rows, None, folder), step_s(case, teacher, rows, features, folder)) for _ in range(pairs)
    ]
    middle, least, most = ratios_of(turns)
    beside, stored = (median(times) for times in zip(*turns, strict=True))
    saved_s = (beside - stored) * steps
    row = [
        case.name, f"{1 / beside:.2f}", f"{1 / stored:.2f}", f"{middle:.2f} ({least:.2f} to {most:.2f})",
        text_from_bytes(size / len(rows)), f"{storing_s / saved_s:.1f}" if saved_s > 0 else "never",
    ]  # fmt: skip
    numbers = {"turns_s": turns, "storing_s": storing_s, "bytes": size, "rows": len(rows), "steps": steps}
    return row, {case.name: numbers}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=7, help="turns of each way")
    parser.add_argument("--steps", type=int, default=14, help="steps of a turn")
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="only this one")
    parser.add_argument("--write", action="store_true", help="replace the results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = CASES if asked.case is None else (CASES[asked.case],)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {"pairs": asked.pairs, "batch_size": BATCH}
    begun = time.perf_counter()
    for case in chosen:
        folder = Path(tempfile.mkdtemp(prefix="cached-hidden-"))
        try:
            with silent_libraries():
                row, found = measured(case, asked.pairs, asked.steps, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        rows.append(row)
        numbers |= found
    columns = (
        "teacher and student", "steps/s beside", "steps/s stored", "as many steps (range)", "on disk per text",
        "epochs that pay for storing",
    )  # fmt: skip
    text = (
        f"Batches of {BATCH} texts of 8 to {LONGEST} tokens; {asked.pairs} pairs of turns of {asked.steps} steps, the "
        f"range is over pairs.\nAll took {text_from_s(time.perf_counter() - begun)}.\n\n"
    )
    page = text + table_text(columns, rows)
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("cached_hidden", "What stored hidden states save", page, numbers, host)
    else:
        print(page)


if __name__ == "__main__":
    main()
