from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls as reference_nnls

from edgekd.cost.nnls import nnls


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(3, 30), columns=st.integers(1, 13), twins=st.booleans())
def test_every_problem_of_a_batch_reaches_the_residual_of_scipy(
    seed: int, rows: int, columns: int, twins: bool
) -> None:
    rng = np.random.default_rng(seed)
    matrices = rng.uniform(0, 1, (4, rows, columns))
    if twins:
        matrices[..., 0] = matrices[..., -1]
    target = rng.uniform(0.1, 1, rows)
    gram = matrices.transpose(0, 2, 1) @ matrices + 1e-9 * np.eye(columns)
    found = nnls(gram, target @ matrices)
    assert (found >= 0).all()
    for matrix, x in zip(matrices, found, strict=True):
        _, best = reference_nnls(matrix, target)
        assert np.linalg.norm(matrix @ x - target) <= best + 1e-6 * np.linalg.norm(target)


def test_nnls_gives_the_values_of_scipy_when_they_are_unique() -> None:
    rng = np.random.default_rng(5)
    matrix = rng.normal(0, 1, (30, 5))
    target = matrix @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + rng.normal(0, 0.1, 30)
    expected, _ = reference_nnls(matrix, target)
    found = nnls((matrix.T @ matrix)[None], (target @ matrix)[None])[0]
    assert found == pytest.approx(expected, abs=1e-9)


def test_nothing_helps_where_every_column_points_away() -> None:
    assert nnls(np.eye(3)[None], np.array([[-1.0, -2.0, 0.0]])).tolist() == [[0.0, 0.0, 0.0]]
