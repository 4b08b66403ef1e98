"""What the benchmark of 4-bit products makes of its times."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "predictor"))

from strides import INPUTS, OUTPUTS, beyond, runner, session_of

from edgekd.cost.tails import left_over


def test_what_is_left_over_is_told_in_strides_beyond_its_share() -> None:
    # 1 ns for 128 inputs, and what is counted as left over at half a stride for 96.
    times = {inputs: 3 + inputs / 128 + left_over(inputs) / 192 for inputs in INPUTS}
    assert beyond(times) == pytest.approx([1 / 6, 1 / 2, 1])
    assert beyond({inputs: 3 + inputs / 128 for inputs in INPUTS}) == pytest.approx([0, 0, 0])


def test_a_product_has_a_matrix_of_four_bits() -> None:
    session = session_of(160)
    (made,) = session.run(None, {"x": np.ones((2, 160), np.float32)})
    assert made.shape == (2, OUTPUTS)
    weights = np.random.default_rng(0).standard_normal((160, OUTPUTS)).astype(np.float32)
    error = np.abs(made[0] - weights.sum(axis=0)).mean()
    assert 0.01 < error < 5  # rounded, and the same matrix all the same
    runner(160, 3)()
