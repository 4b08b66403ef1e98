"""How faithful a student is to its teacher, apart from how good it is at the task.

The two are not one: a student may agree with its teacher and be wrong, or be right where its teacher is not.
Source: Stanton et al. 2021, Does Knowledge Distillation Really Work?, arXiv:2106.05945.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.calibration import calibration
from edgekd.distill.evaluate import STANDARD_ERRORS, check_lengths, log_probabilities, majority_bar
from edgekd.units import text_from_share


@dataclass(frozen=True)
class Fidelity:
    """On one part of the data: `agreement` is the share of equal answers, `divergence` the mean KL(teacher ‖ student).

    `divergence` is at temperature 1, in nats per example; calibration errors are shares. `warning` says in words that
    the student imitates without having learned the task; None where it does not. Where nothing is a probability, as of
    embeddings, there are no calibration errors.
    """

    agreement: float
    divergence: float
    calibration_error: float | None
    teacher_calibration_error: float | None
    warning: str | None


def fidelity(
    logits: NDArray[Any], teacher_logits: NDArray[Any], labels: NDArray[Any], class_counts: NDArray[Any]
) -> Fidelity:
    """The fidelity of a student that answers `logits` to a teacher that answers `teacher_logits`.

    `class_counts` are the examples per class of the training part. There is a warning when both are true:

    - The student looks like its teacher: the two agree at least as often as the teacher is right.
    - It has not learned the task: it is right less often than its teacher by more than three standard errors of the
      paired difference, or no more often, by three standard errors, than always answering the most frequent class.

    Without the first, a low accuracy speaks for itself. Without three standard errors, chance may be all there is: nine
    examples on which only the teacher is right are the fewest that tell.

    Shapes: logits [rows, classes] twice, labels [rows], class_counts [classes].
    Errors: InputError when the lengths differ.
    """
    check_lengths(logits, labels)
    check_lengths(teacher_logits, labels)
    own, its = log_probabilities(logits), log_probabilities(teacher_logits)
    answers, teacher_answers = logits.argmax(axis=-1), teacher_logits.argmax(axis=-1)
    return Fidelity(
        agreement=float((answers == teacher_answers).mean()),
        divergence=float((np.exp(its) * (its - own)).sum(axis=-1).mean()),
        calibration_error=calibration(logits, labels).error,
        teacher_calibration_error=calibration(teacher_logits, labels).error,
        warning=_warning(answers, teacher_answers, labels, class_counts),
    )


def _warning(
    answers: NDArray[Any], teacher_answers: NDArray[Any], labels: NDArray[Any], class_counts: NDArray[Any]
) -> str | None:
    right, teacher_right = answers == labels, teacher_answers == labels
    agreement, accuracy, teacher_accuracy = (
        float(hits.mean()) for hits in (answers == teacher_answers, right, teacher_right)
    )
    if agreement < teacher_accuracy:
        return None
    majority, base, needed = majority_bar(labels, class_counts)
    said = (
        f"it agrees with its teacher on {text_from_share(agreement)} of the validation part, and is right on "
        f"{text_from_share(accuracy)}"
    )
    if accuracy <= needed:
        against = f"hardly more than class {majority} alone would give ({text_from_share(base)})"
    elif _is_behind(right, teacher_right):
        against = f"its teacher on {text_from_share(teacher_accuracy)}"
    else:
        return None
    return f"{said}, {against}: it imitates without having learned the task. Lower distill.alpha, or train longer"


def _is_behind(right: NDArray[np.bool_], teacher_right: NDArray[np.bool_]) -> bool:
    lead = teacher_right.astype(np.float64) - right
    return float(lead.mean()) > STANDARD_ERRORS * float(lead.std()) / math.sqrt(len(lead))
