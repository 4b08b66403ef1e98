"""The sizes of the retention benchmark, and its arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.student import StudentSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from retention import CASES, Size, capacity, student_of
from retention_table import added, packed, retained, rows_of, unpacked
from starts import first_below

MINILM = StudentSpec(
    architecture="bert",
    layers=6,
    hidden=384,
    heads=12,
    ffn=1536,
    vocabulary=30522,
    positions=512,
    token_types=2,
    labels=77,
)


TEACHERS = {
    "banking77": MINILM,
    "mnist": StudentSpec(
        architecture="vit", layers=6, hidden=96, heads=6, ffn=192, labels=10, image_size=28, patch_size=7, channels=1
    ),
}


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in TEACHERS for size in CASES[name]])
def test_every_student_fills_its_share(name: str, size: Size) -> None:
    teacher = TEACHERS[name]
    spec = student_of(teacher, size)
    share = capacity(spec) / capacity(teacher)
    assert 0.75 * size.share < share <= size.share
    wider = StudentSpec.from_dict({**spec.to_dict(), "ffn": spec.ffn + 32})
    assert spec.ffn == teacher.ffn or capacity(wider) > size.share * capacity(teacher)


def test_a_share_that_no_student_has_is_refused() -> None:
    with pytest.raises(SystemExit, match="no student in 6 layers of 384 is small enough"):
        student_of(MINILM, Size(0.1, 6))


def test_what_is_retained_is_a_ratio_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    teacher = (rng.random(2000) < 0.9).astype(float)
    right = np.stack([teacher * (rng.random(2000) < 0.95) for _ in range(3)])
    share, low, high = retained(right, teacher)
    assert low < share < high
    assert share == pytest.approx(0.95, abs=0.01)
    # Drawn together, what both answer rightly or both wrongly adds nothing to the interval.
    assert retained(np.stack([teacher]), teacher) == (1.0, 1.0, 1.0)


def test_each_student_is_compared_with_its_own_teacher() -> None:
    good, bad = np.ones(100), np.concatenate([np.ones(50), np.zeros(50)])
    share, _, _ = retained(np.stack([good, bad]), np.stack([good, bad]))
    assert share == 1.0


def told(answers: list[int], seed: int) -> dict[str, object]:
    return {
        "answers": answers, "seed": seed, "student": "L2", "share": 0.3, "seconds": 60.0, "best_epoch": 1,
        "initialisation": {"method": "uniform", "compared": []}, "history": [{}, {}], "stopped": "finished",
    }  # fmt: skip


@pytest.mark.parametrize("examples", [1, 8, 77])
def test_answers_are_kept_bit_by_bit(examples: int) -> None:
    right = np.random.default_rng(1).random(examples) < 0.5
    assert (unpacked(packed(right), examples) == right).all()


def test_results_of_several_days_add_up() -> None:
    labels = [0, 1, 2, 3, 0]
    first = added(
        None, {"labels": labels, "answers": [0, 1, 2, 3, 1]}, {"35 %": [told([0, 1, 2, 0, 1], 1)], "10 %": []}
    )
    again = added(first, {"labels": labels, "answers": [0, 1, 2, 3, 1]}, {"35 %": [told([0, 1, 2, 3, 1], 1)]})
    assert len(again["sizes"]["35 %"]) == 1
    both = added(again, {"labels": labels, "answers": labels}, {"35 %": [told([0, 1, 2, 3, 1], 1)]})
    (row,) = rows_of("toy", both, ["50 %", "35 %", "10 %"])
    assert row[4:8] == ["2 of 2 teachers", "0.9000", "0.8000", "88.9%"]
    with pytest.raises(SystemExit, match="another test part"):
        added(both, {"labels": [0, 1], "answers": [0, 1]}, {})


def test_the_first_look_at_a_loss_counts() -> None:
    points = [[10, 2.0, 0.1], [20, 1.0, 0.5], [30, 1.1, 0.5], [40, 0.9, 0.6]]
    assert first_below(points, 1.05) == 20
    assert first_below(points, 0.95) == 40
    assert first_below(points, 0.5) is None
