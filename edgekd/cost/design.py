"""Which students to measure so that a fit to them knows most: a D-optimal design, the same one every time.

What a fit knows of a student is how well the measured ones fix the prices of its terms. The students are taken one by
one, always the one about which those taken before know least; that is the greedy way to the largest determinant of the
information matrix. Every third fills a gap in size instead, so that leaving one out tells how good the form is.
benchmarks/predictor/live.py shows how well such students predict others.
Source: Fedorov, Theory of Optimal Experiments, 1972; Atkinson, Donev, Tobias, Optimum Experimental Designs, 2007, 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.terms import MACS, TERMS

# How many MACs the start of an operator is worth before anything was measured: our choice, from microseconds of it
# and tens of GMAC/s. Only the relative weight of small and large students in the design depends on it.
MACS_PER_START = 1e5
# Every third student fills the largest gap in size, our choice: the others reach for the ends, and no form of a latency
# is exact in between.
EVERY = 3
# How little is known of every direction before the first student, relative to one student.
_PRIOR = 1e-3


def crude_latency(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """About proportional to the latency, from MACs and starts alone. Shapes: [students] each, and so is the result."""
    macs = sum(columns[name] for name in MACS)
    return np.asarray(macs + MACS_PER_START * columns["starts"], np.float64)


def _farthest(sizes: NDArray[np.float64], taken: Sequence[int], left: NDArray[np.bool_]) -> int:
    """The one in `left` whose size is farthest from the next one of those `taken`."""
    distances = np.abs(sizes[:, None] - sizes[list(taken)]).min(axis=1)
    return int(np.argmax(np.where(left, distances, -1.0)))


def designed(columns: Mapping[str, NDArray[np.float64]], number: int, taken: Sequence[int] = ()) -> list[int]:
    """The positions of `number` students to measure, those in `taken` being measured already and not among them.

    Of equal students the first is taken. Fewer when there are not so many.
    Shapes: `columns` hold the terms of cost.terms, float64 [students].
    """
    count = len(columns["starts"])
    rows = np.stack([np.ones(count), *(np.asarray(columns[name], np.float64) for name in TERMS)], axis=1)
    rows /= crude_latency(columns)[:, None]
    lengths = np.sqrt(np.square(rows).mean(axis=0))
    rows = rows[:, lengths > 0] / lengths[lengths > 0]
    information = _PRIOR * np.eye(rows.shape[1])
    for position in taken:
        information += np.outer(rows[position], rows[position])
    left = np.ones(count, bool)
    left[list(taken)] = False
    found: list[int] = []
    sizes = np.log(crude_latency(columns))
    while len(found) < number and left.any():
        if (len(taken) + len(found)) % EVERY == EVERY - 1:
            best = _farthest(sizes, [*taken, *found], left)
            found.append(best)
            left[best] = False
            information += np.outer(rows[best], rows[best])
            continue
        unknown = np.einsum("sj,jk,sk->s", rows, np.linalg.inv(information), rows)
        best = int(np.argmax(np.where(left, unknown, -1.0)))
        found.append(best)
        left[best] = False
        information += np.outer(rows[best], rows[best])
    return found
