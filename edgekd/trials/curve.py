"""Whether a trial can still reach the others, by its learning curve so far.

A learning curve flattens as it falls, so the line through two of its points lies below all that follows: taken on to
the end it says how low the loss can come at best. Of the last few lines the steepest counts, less a multiple of the
error, because an evaluation scatters and a curve may pause. A trial that misses what is needed even so is ended.
Source: stopping by extrapolated curves is from Domhan et al. 2015 (IJCAI, Speeding up automatic hyperparameter
optimization); curves that flatten are the usual ones, Viering and Loog 2022, arXiv:2103.10948.
"""

from __future__ import annotations

from collections.abc import Sequence

LOOK_BACK = 3  # points before the last one, our choice
LEAST_POINTS = 3
ERRORS = 3.0  # standard errors that a curve is given, our choice: to end a good trial costs more than to keep a bad one


def can_reach(points: Sequence[tuple[int, float]], end: int, needed: float, error: float) -> bool:
    """Whether a curve of (step, loss) may come down to `needed` at the step `end`; True while too few points tell.

    `error` is the standard error of the last loss less `needed`.
    """
    if len(points) < LEAST_POINTS:
        return True
    step, loss = points[-1]
    before = points[-1 - LOOK_BACK : -1]
    steepest = max(0.0, *((earlier - loss) / (step - at) for at, earlier in before))
    return loss - steepest * (end - step) - ERRORS * error <= needed
