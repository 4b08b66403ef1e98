"""What is kept of every finished student, so that runs of several days and machines add up, and the table of them all.

Of each student and teacher the results hold which test examples it answers rightly, one bit each. A teacher that was
fine-tuned anew, on another machine or in another work folder, is another one: its students are compared with it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.files import read_json

DRAWS = 2000
COLUMNS = (
    "data", "at most", "student", "parameters", "students", "teacher right", "student right", "retained",
    "95 % interval", "start", "training",
)  # fmt: skip


def packed(right: NDArray[Any]) -> str:
    """Zeros and ones as hexadecimal digits, eight of them to two digits."""
    return np.packbits(right.astype(np.uint8)).tobytes().hex()


def unpacked(digits: str, examples: int) -> NDArray[Any]:
    """The zeros and ones of `packed`, as floats. Shape [examples]."""
    bits: NDArray[Any] = np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8))[:examples]
    return bits.astype(float)


def known_cases(path: Path) -> dict[str, Any]:
    """The cases of a results file; none where there is no file, or one from before students were kept one by one."""
    found: dict[str, Any] = read_json(path).get("cases", {}) if path.exists() else {}
    return found


def added(
    case: dict[str, Any] | None, teacher: dict[str, Any], students: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """`case` with the students of one more teacher; those of the same teacher and seed are replaced.

    `teacher` holds its answers to the test part and the labels; `students` by size what training them told, with seed.
    Errors: SystemExit where the labels are not those of the case.
    """
    labels = np.array(teacher["labels"])
    told = {"examples": len(labels), "labels": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()}
    case = case or {**told, "teachers": {}, "sizes": {}}
    if {key: case[key] for key in told} != told:
        raise SystemExit("the results were made with another test part; remove them or leave --write out")
    name = hashlib.sha256(np.array(teacher["answers"]).astype("<i8").tobytes()).hexdigest()[:12]
    case["teachers"][name] = packed(np.array(teacher["answers"]) == labels)
    for size, of_size in students.items():
        rows = {(row["teacher"], row["seed"]): row for row in case["sizes"].get(size, [])}
        for one in of_size:
            rows[name, one["seed"]] = {
                "teacher": name, "seed": one["seed"], "right": packed(np.array(one["answers"]) == labels),
                "student": one["student"], "share": one["share"], "start": one["initialisation"]["method"],
                "compared": one["initialisation"]["compared"], "best_epoch": one["best_epoch"],
                "epochs": len(one["history"]), "stopped": one["stopped"], "minutes": one["seconds"] / 60,
            }  # fmt: skip
        if rows:
            case["sizes"][size] = list(rows.values())
    return case


def retained(right: NDArray[Any], teacher: NDArray[Any]) -> tuple[float, float, float]:
    """The students' mean accuracy by their teachers', and a 95 % interval over test examples, drawn for all together.

    Shapes: `right` [students, examples], `teacher` the same, or [examples] where all have one; both 0 or 1.
    """
    rng = np.random.default_rng(0)
    mean, base = right.mean(axis=0), np.atleast_2d(teacher).mean(axis=0)
    drawn = rng.integers(0, len(base), (DRAWS, len(base)))
    ratios = mean[drawn].mean(axis=1) / base[drawn].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(mean.mean() / base.mean()), float(low), float(high)


def rows_of(name: str, case: dict[str, Any], sizes: Sequence[str]) -> list[list[str]]:
    """A table row for each of `sizes` with finished students."""
    rows = []
    for size in sizes:
        found = case["sizes"].get(size, [])
        if not found:
            continue
        right = np.array([unpacked(one["right"], case["examples"]) for one in found])
        teacher = np.array([unpacked(case["teachers"][one["teacher"]], case["examples"]) for one in found])
        share, low, high = retained(right, teacher)
        teachers = len({one["teacher"] for one in found})
        number = f"{len(found)}" + (f" of {teachers} teachers" if teachers > 1 else "")
        rows.append([
            name, size, found[0]["student"], f"{found[0]['share']:.1%}", number, f"{teacher.mean():.4f}",
            f"{right.mean():.4f}", f"{share:.1%}", f"{low:.1%} to {high:.1%}",
            ", ".join(sorted({one["start"] for one in found})), f"{np.mean([one['minutes'] for one in found]):.1f} min",
        ])  # fmt: skip
    return rows
