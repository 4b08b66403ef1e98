"""Carry a fit over to another board, batch, length or runtime version by one to five anchor measurements there.

What changes most between two conditions is one common factor; a few students measured again under the new one tell it.
What it leaves is how much the anchors disagree, and that widens the interval. One anchor cannot disagree with itself,
so a prior stands in for what is not seen yet: as much as two anchors that differ by what boards usually differ.
Source: our choice, after the Raspberry Pi campaigns of HAT, where one anchor brought 84 to 95 % of students within
10 % and five 92 to 99 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from edgekd.cost.calibrate import COVERAGE, LARGEST_HALF_WIDTH, Fit, Sample
from edgekd.errors import MeasureError
from edgekd.stats import student_t_quantile

USUAL_DISAGREEMENT = 0.06  # deviation of ln(there / here) between students after the common factor (see Source)
PRIOR_ANCHORS = 2  # how many anchors that guess is worth


def rescaled(fit: Fit, anchors: Sequence[Sample]) -> Fit:
    """`fit` times the factor that the `anchors`, measured under the other condition, ask for; its interval is wider.

    The factor is the median over the anchors, so that of three or more one may be wild. Ranges of the fit stay in
    force: where a student was far from the samples it is still. `samples` stays the number behind the prices.
    Errors: MeasureError without anchors, for values that are no positive numbers, for features that are missing.
    """
    if not anchors:
        raise MeasureError("no anchor was measured, expected one at least. Measure a student of the fit again")
    logs = [_log_ratio(fit, anchor) for anchor in anchors]
    centre = median(logs)
    usual = math.hypot(USUAL_DISAGREEMENT, fit.half_width / student_t_quantile((1 + COVERAGE) / 2, 1000))
    freedom = PRIOR_ANCHORS + len(logs) - 1
    squares = PRIOR_ANCHORS * usual**2 + sum((log - centre) ** 2 for log in logs)
    deviation = math.sqrt(squares / freedom * (1 + 1 / len(logs)))
    width = student_t_quantile((1 + COVERAGE) / 2, freedom) * deviation
    factor = math.exp(centre)
    return replace(
        fit,
        prices={term: price * factor for term, price in fit.prices.items()},
        root=tuple(tuple(entry * factor for entry in row) for row in fit.root),
        half_width=min(max(width, fit.half_width), LARGEST_HALF_WIDTH),
        outliers=(),
    )


def _log_ratio(fit: Fit, anchor: Sample) -> float:
    if not (math.isfinite(anchor.value) and anchor.value > 0):
        raise MeasureError(f"{anchor.name}: measured {anchor.value!r}, expected a positive number. Measure again")
    predicted = fit.predict(anchor.features).mid
    if predicted <= 0:
        raise MeasureError(f"{anchor.name}: the fit predicts nothing for it, so it cannot be an anchor. Take another")
    return math.log(anchor.value / predicted)
