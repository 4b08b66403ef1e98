"""The sizes of the embedding benchmark, and its arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.retrieval import agreement
from edgekd.student import StudentSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "distillation"))

from embedding import MEASURES, SIZES, measured
from retention import capacity, student_of

MINILM = StudentSpec(
    architecture="bert", layers=6, hidden=384, heads=12, ffn=1536, vocabulary=30522, positions=512, token_types=2,
    head="none",
)  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_every_student_fills_its_share_and_keeps_the_dimensions(size: object) -> None:
    spec = student_of(MINILM, size)
    share = capacity(spec) / capacity(MINILM)
    assert 0.9 * size.share < share <= size.share
    assert (spec.hidden, spec.head) == (384, "none")


def test_what_is_measured_is_the_agreement_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(300, 12))
    student = teacher + 0.4 * rng.normal(size=(300, 12))
    found, expected = measured(student, teacher), agreement(student, teacher)
    for name, value in zip(MEASURES, (expected.top_1, expected.recall_at_10, expected.spearman), strict=True):
        middle, low, high = found[name]
        assert middle == pytest.approx(value)
        assert low < middle < high
        assert high - low < 0.15
    assert measured(teacher, teacher)["top-1"] == (1.0, 1.0, 1.0)


def test_the_interval_of_the_correlation_covers_what_other_texts_give() -> None:
    """Of 20 samples of texts from one population the first one's interval should hold most of the others' values."""
    rng = np.random.default_rng(1)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        teacher = rng.normal(size=(200, 8))
        return teacher + 0.5 * rng.normal(size=(200, 8)), teacher

    _, low, high = measured(*sample())["Spearman"]
    others = [agreement(*sample()).spearman for _ in range(20)]
    width = high - low
    assert 0.5 * width < 2 * 1.96 * np.std(others) < 2 * width
