"""Non-negative least squares for many small problems at once, on their normal equations.

Block principal pivoting: every variable with the wrong sign changes sides at once; where that does not help any more,
only the last one does, which is slower and cannot go round in circles. All problems take their steps together.
Source: Kim, Park: Fast Nonnegative Matrix Factorization, SIAM J. Sci. Comput. 33(6), 2011, section 3; Murty 1974.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PATIENCE = 3  # block exchanges without fewer wrong signs, before one variable at a time changes sides
TOLERANCE = 1e-10  # of the largest value of a problem: a sign below that is rounding


def nnls(gram: Floats, right: Floats) -> Floats:
    """The x >= 0 that minimise x'Gx / 2 - r'x for each Gram matrix G in `gram` and vector r in `right`.

    Shapes: `gram` (problems, columns, columns), symmetric and positive definite; `right` and the answer
    (problems, columns). Columns should be scaled to similar length.
    """
    problems, columns = right.shape
    free = right > 0
    fewest = np.full(problems, columns + 1)
    patience = np.full(problems, PATIENCE)
    x = np.zeros_like(right)
    active = np.arange(problems)
    # Far more rounds than ever needed; a problem that rounding keeps undecided stays at its last point, cut at 0.
    for _ in range(40 * columns + 40):
        part_gram, part_right, part_free = gram[active], right[active], free[active]
        found = _solved(part_gram, part_right, part_free)
        slope = np.einsum("pij,pj->pi", part_gram, found) - part_right
        tolerance = TOLERANCE * np.abs(part_right).max(axis=1, keepdims=True)
        wrong = np.where(part_free, found < -tolerance, slope < -tolerance)
        x[active] = found
        count = wrong.sum(axis=1)
        if not count.any():
            break
        better = count < fewest[active]
        fewest[active] = np.where(better, count, fewest[active])
        patience[active] = np.where(better, PATIENCE, patience[active] - 1)
        last = columns - 1 - np.argmax(wrong[:, ::-1], axis=1)
        single = np.arange(columns) == last[:, None]
        free[active] = part_free ^ np.where((patience[active] >= 0)[:, None], wrong, wrong & single)
        active = active[count > 0]
    return np.maximum(x, 0.0)


def _solved(gram: Floats, right: Floats, free: NDArray[np.bool_]) -> Floats:
    """The unconstrained minimum over the `free` variables of each problem, the others being 0."""
    both = free[:, :, None] & free[:, None, :]
    matrix = np.where(both, gram, np.eye(gram.shape[1]))
    return np.linalg.solve(matrix, np.where(free, right, 0.0)[..., None])[..., 0]
