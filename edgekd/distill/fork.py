"""Whether the last epoch, on labels alone, is kept.

It starts from the best weights as a fork: labels may make a student right a little more often, and they make it too
sure of itself, because no soft answer of the teacher holds it back any more.
"""

from __future__ import annotations

from edgekd.distill.settings import EpochRecord, Fork, ForkReason

MOST_WORSE = 1.2  # as a multiple of the calibration error before, our choice


def judged(before: EpochRecord, after: EpochRecord) -> Fork:
    """The fork that led from the best epoch `before` to `after`.

    It is kept when it is better on the validation part and its calibration error is at most 1.2 times the one before.
    An error that its own confidences would show by chance if they were all true is allowed as well: on small parts most
    of the error is chance, and a multiple of chance would decide.
    """
    most = max(MOST_WORSE * before.calibration_error, after.calibration_chance)
    reason: ForkReason = "better"
    if after.rank <= before.rank:
        reason = "no_better"
    elif after.calibration_error > most:
        reason = "worse_calibrated"
    return Fork(
        epoch=after.epoch,
        kept=reason == "better",
        reason=reason,
        calibration_error_before=before.calibration_error,
        calibration_error=after.calibration_error,
        most_calibration_error=most,
    )
