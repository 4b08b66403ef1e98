"""Which students stand where the next attempt should."""

from __future__ import annotations

import math

import numpy as np

from edgekd.sizing.attempts import Aim
from edgekd.sizing.pareto import Numbers
from edgekd.sizing.table import Mask

SLACK = math.log(1.05)  # our choice, half a step: of students outside the band, those about as near as the nearest


def aimed_at(ratios: Numbers, wanted: Mask, aim: Aim) -> Mask:
    """Of the students in `wanted` those within the band of `aim`, or else those nearest to it; NaN is never near.

    Shapes: `ratios` [students], value / limit of the limit that is taken most.
    """
    within: Mask = wanted & (ratios >= aim.low) & (ratios <= aim.high)
    if not within.any():
        return within
    with np.errstate(divide="ignore", invalid="ignore"):
        below, above = np.log(aim.least / ratios), np.log(ratios / aim.most)
    away = np.where(ratios < aim.least, below, np.where(ratios > aim.most, above, 0.0))
    nearest = away[within].min()
    if nearest > 0 and aim.exact:
        return within
    return within & (away <= (nearest + SLACK if nearest > 0 else 0.0))
