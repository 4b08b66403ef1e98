"""When a training ends before its last epoch, decided on the validation part alone.

Losses are compared with their like: the cross entropy of a student with the cross entropy of its teacher. The
distillation loss that is minimised has another scale (T², a floor of 0) and says nothing about the labels.
"""

from __future__ import annotations

from edgekd.distill.settings import EpochRecord, Stopped, TrainingSettings, alone, best_of, epochs_since_best

CLOSE_TO_TEACHER = 0.02  # as a share of the teacher's cross entropy, our choice
LEAST_IMPROVEMENT = 0.001  # as a share of the lowest cross entropy before, our choice
EVALUATIONS = 2  # without such an improvement, our choice


def reached_teacher(
    history: tuple[EpochRecord, ...], teacher_loss: float, teacher_accuracy: float | None = None
) -> bool:
    """Whether a student is as good as its teacher and learns no more.

    That is: the cross entropy of the weights that would be kept is at most 2 % above the teacher's, and that of
    neither of the last two evaluations is more than 0.1 % below the lowest one before them. Where the teacher's
    accuracy is given, those weights must have it, too: a teacher that is too sure of itself has a high cross entropy,
    which students pass long before they are as good. Units: nats.
    """
    losses = [record.validation_loss for record in history]
    before, last = losses[:-EVALUATIONS], losses[-EVALUATIONS:]
    if not before:
        return False
    kept = best_of(history)
    close = kept.validation_loss <= (1 + CLOSE_TO_TEACHER) * teacher_loss
    as_often_right = teacher_accuracy is None or kept.validation_accuracy >= teacher_accuracy
    return close and as_often_right and min(last) >= (1 - LEAST_IMPROVEMENT) * min(before)


def stop_reason(history: tuple[EpochRecord, ...], epochs: int, settings: TrainingSettings) -> Stopped | None:
    """Why a training of at most `epochs` ends after `history`; None: it goes on.

    Epochs with a scaffold count as run, and say nothing of what the student can reach: only later ones are looked at.
    """
    if len(history) >= epochs:
        return "finished"
    history = alone(history)
    if not history:
        return None
    teacher_loss = settings.teacher_validation_loss
    if teacher_loss is not None and reached_teacher(history, teacher_loss, settings.teacher_validation_accuracy):
        return "reached_teacher"
    if epochs_since_best(history) >= settings.patience:
        return "capacity_limited" if settings.of_student else "early"
    return None
