"""How far a classifier's confidence is from how often it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.evaluate import check_lengths, log_probabilities

BINS = 15  # as Guo et al.
DRAWS = 200  # our choice: the mean of so many is known to about 2 %


@dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error, a share.

    `chance` is the error that a model of these very confidences would show on average if each of them were true: among
    few examples a bin is never right exactly as often as it should be. An error up to there tells nothing.
    """

    error: float
    chance: float


def calibration(logits: NDArray[Any], labels: NDArray[Any]) -> Calibration:
    """The calibration of the answers `logits`, in 15 bins of equal width. Equal arguments give equal results.

    Shapes: logits [rows, classes], labels [rows].
    Errors: InputError when the lengths differ.
    Source: Guo et al. 2017, arXiv:1706.04599; drawing answers anew from the confidences: Bröcker and Smith 2007,
    Increasing the Reliability of Reliability Diagrams.
    """
    check_lengths(logits, labels)
    return calibration_of(np.exp(log_probabilities(logits).max(axis=-1)), logits.argmax(axis=-1) == labels)


def calibration_of(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """As calibration, of answers with these confidences that are right or wrong. Shapes: both [rows]."""
    # A bin holds its upper end.
    bins = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)

    def error(hits: NDArray[np.bool_]) -> float:
        gaps = np.bincount(bins, weights=hits - confidences, minlength=BINS)
        return float(np.abs(gaps).sum() / len(right))

    rng = np.random.default_rng(0)
    drawn = [error(rng.random(len(right)) < confidences) for _ in range(DRAWS)]
    return Calibration(error(right), float(np.mean(drawn)))
