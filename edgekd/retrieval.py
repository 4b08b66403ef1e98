"""Whether two sets of embeddings of the same texts find the same texts alike.

Similarity is the cosine, so the widths may differ and lengths do not count. It is rounded to five decimals: of texts
that are alike to the last digit that float32 can tell, such as copies, the first one is the nearest to everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

NEIGHBOURS = 10
MOST_TEXTS = 2000  # of whose pairs the rank correlation is taken, evenly chosen: two million pairs
LEAST_TEXTS = 3  # of two texts each is the nearest to the other, whatever a model says
DECIMALS = 5
ROWS_AT_ONCE = 500

Vectors = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Agreement:
    """How a student's embeddings agree with its teacher's; all from 0 to 1 but `spearman`, from -1 to 1.

    `top_1`: how often the text that is nearest by the student is the nearest by the teacher. `recall_at_10`: how many
    of the teacher's ten nearest are among the student's ten. `spearman`: the rank correlation of all cosines.
    """

    top_1: float
    recall_at_10: float
    spearman: float


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each text, what a student makes of the others and what its teacher does. Shapes: all [texts].

    `student` and `teacher` are the numbers of the nearest other texts. `losses` are KL(teacher ‖ student) of how near
    the others are, in nats; `confidences` what of the student's distribution falls on its nearest.
    """

    student: NDArray[np.int64]
    teacher: NDArray[np.int64]
    losses: NDArray[np.float64]
    confidences: NDArray[np.float64]


def agreement(student: Vectors, teacher: Vectors) -> Agreement:
    """The agreement of embeddings of the same texts. Shapes: [texts, width], the widths may differ.

    Errors: InputError for fewer than three texts, or different numbers of them.
    """
    _check(student, teacher)
    count = min(NEIGHBOURS, len(student) - 1)
    ours, its = neighbours(student, count), neighbours(teacher, count)
    shared = (ours[:, :, None] == its[:, None, :]).any(axis=2).sum(axis=1)
    return Agreement(
        top_1=float((ours[:, 0] == its[:, 0]).mean()),
        recall_at_10=float(shared.mean() / count),
        spearman=spearman(pair_similarities(student), pair_similarities(teacher)),
    )


def nearest(student: Vectors, teacher: Vectors, temperature: float) -> Nearest:
    """What both find nearest, and how far the student's distribution over the other texts is from the teacher's.

    The distributions are softmax(cosine / temperature). Shapes: [texts, width], the widths may differ.
    Errors: as agreement.
    """
    _check(student, teacher)
    parts: list[tuple[NDArray[Any], ...]] = []
    for ours, its in zip(_similarity_rows(student), _similarity_rows(teacher), strict=True):
        answers = _rounded(ours).argmax(axis=1)
        own, other = (_log_softmax(rows / temperature) for rows in (ours, its))
        self_pairs = np.isneginf(other)  # a text is no neighbour of itself
        own[self_pairs] = 0.0
        shares = np.exp(other)
        other[self_pairs] = 0.0
        parts.append((
            answers, _rounded(its).argmax(axis=1), (shares * (other - own)).sum(axis=1).clip(min=0),
            np.exp(own[np.arange(len(own)), answers]),
        ))  # fmt: skip
    found, true, losses, confidences = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Nearest(found, true, losses, confidences)


def neighbours(embeddings: Vectors, count: int) -> NDArray[np.int64]:
    """The numbers of the `count` nearest other texts of each, the nearest first; of equals the first.

    Shapes: [texts, width] to [texts, count].
    """
    rows = [np.argsort(-_rounded(part), axis=1, kind="stable")[:, :count] for part in _similarity_rows(embeddings)]
    return np.concatenate(rows)


def pair_similarities(embeddings: Vectors, most: int = MOST_TEXTS) -> NDArray[np.float64]:
    """The cosine of each pair of texts, of at most `most` evenly chosen ones, always in the same order."""
    rows = min(most, len(embeddings))
    units = _units(embeddings[[index * len(embeddings) // rows for index in range(rows)]])
    return (units @ units.T)[np.triu_indices(rows, 1)].astype(np.float64)


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The rank correlation; equal values share the mean of their ranks. 0 where all values of a side are equal.

    Shapes: both [values]. Source: Spearman 1904, The Proof and Measurement of Association between Two Things.
    """
    ours, its = _ranks(one), _ranks(other)
    ours, its = ours - ours.mean(), its - its.mean()
    scale = np.sqrt((ours**2).sum() * (its**2).sum())
    return float((ours * its).sum() / scale) if scale > 0 else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks: NDArray[np.float64] = ends - (counts - 1) / 2
    return mean_ranks[places]


def _check(student: Vectors, teacher: Vectors) -> None:
    if len(student) != len(teacher) or len(student) < LEAST_TEXTS:
        raise InputError(
            f"embeddings: found {len(student)} of the student and {len(teacher)} of the teacher, expected as many, of "
            f"at least {LEAST_TEXTS} texts"
        )


def _units(embeddings: Vectors) -> NDArray[np.float32]:
    wide = embeddings.astype(np.float64)
    units: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return units.astype(np.float32)


def _similarity_rows(embeddings: Vectors) -> Iterator[NDArray[np.float64]]:
    """Rows of the table of cosines, some at once; of a text with itself it is minus infinity."""
    units = _units(embeddings)
    for start in range(0, len(units), ROWS_AT_ONCE):
        rows = (units[start : start + ROWS_AT_ONCE] @ units.T).astype(np.float64)
        rows[np.arange(len(rows)), np.arange(start, start + len(rows))] = -np.inf
        yield rows


def _rounded(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(rows, DECIMALS)


def _log_softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = rows - rows.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
