"""What short distillations tell of students, and whom to take by it.

Trials are compared by the mean cross entropy of the labels on the validation part, example by example: a right answer
counts the more the surer it is, so that a few hundred examples tell apart what their accuracy cannot. Where the paired
difference is within its error, capacity decides as it does without trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.sizing.table import Table

NORMAL_95 = 1.96

Ended = Literal["finished", "halved", "pruned", "diverged", "cut"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation on the validation part: `loss` is the mean cross entropy of the labels, in nats."""

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Tried:
    """One student's trial: `steps` of training in `seconds`, evaluated as `curve` says.

    `rung` is the last one at which it was compared, from 0, None for one that was never; `loss`, `accuracy` and
    `losses` are those at that rung. `ended` says why it was not trained further: the last rung was reached, others were
    better at a rung, its curve could not reach them, its loss was no number, or time was up.

    Shapes: `losses` [examples], the cross entropy of each example that is compared.
    """

    rung: int | None
    steps: int
    seconds: float
    loss: float | None
    accuracy: float | None
    ended: Ended
    curve: tuple[CurvePoint, ...]
    losses: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials of one search, by student. `rungs` are optimiser steps; each keeps one student of `eta`.

    `seconds` of `budget_s` were used on this machine; `cut` says that time ended before the last rung did.
    """

    students: Mapping[str, Tried]
    rungs: tuple[int, ...]
    eta: int
    budget_s: float
    seconds: float
    cut: bool


def worse(one: NDArray[np.float64], other: NDArray[np.float64], errors: float = NORMAL_95) -> bool:
    """Whether `one` loses more than `other` on the same examples, by more than `errors` standard errors of that.

    The error is that of drawing the examples; what another seed of the training would change is not in it.
    """
    return float((one - other).mean()) > errors * standard_error(one, other)


def standard_error(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The standard error of the mean difference of paired losses; infinite for fewer than two examples."""
    if len(one) < 2:
        return math.inf
    return float((one - other).std(ddof=1)) / math.sqrt(len(one))


def best_tried(tried: Mapping[int, Tried], table: Table) -> tuple[int, bool] | None:
    """The row in `table` to take of those tried, and whether the loss alone said so; None for fewer than two.

    Only students that came as far as any are compared. Of those that are not worse than the one with the lowest loss
    the most capable is taken.
    """
    compared = {row: found for row, found in tried.items() if found.rung is not None}
    if len(compared) < 2:
        return None
    last = max(found.rung or 0 for found in compared.values())
    finalists = {row: found for row, found in compared.items() if found.rung == last}
    lowest = min(finalists, key=lambda row: (float(finalists[row].losses.mean()), row))
    equal = [row for row, found in finalists.items() if not worse(found.losses, finalists[lowest].losses)]
    return int(table.rank(np.array(equal, np.intp))[-1]), len(equal) == 1
