"""The energy of one inference: static power times latency, a price for each MAC, a price for each byte moved.

The prices are fitted to students that ran alone on a board with rails (edgekd.bench.energy), as those of a latency are.
Without any, a power budget in the device profile says how much a second may take at most: wide, and said so.
The latency is an interval itself; each end of the energy is that of the same end of the latency, so that both doubts
are in it.

Units: joules, watts, seconds, bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekd.cost.calibrate import Fit, Interval, Intervals, Sample, Terms, fit

if TYPE_CHECKING:
    from edgekd.device import DeviceProfile

# Watts, joules for a MAC and joules for a byte. The first two tell most by themselves, the third must be earned.
ENERGY_TERMS: Terms = ("latency_s", "macs", "traffic_bytes")

# Our choice, to be replaced by a calibration on a board with rails: of the largest power budget of a profile a board
# with one busy engine takes between a tenth and all.
LEAST_POWER, MID_POWER = 0.1, 0.5


def energy_features(features: Mapping[str, Any], latency_s: Any) -> dict[str, Any]:
    """What the fit takes as given, from the MACs and bytes in `features`; numbers, or columns of them.

    Errors: KeyError when `features` lack macs, weight_bytes or activation_bytes.
    """
    traffic_bytes = features["weight_bytes"] + features["activation_bytes"]
    return {"latency_s": latency_s, "macs": features["macs"], "traffic_bytes": traffic_bytes}


def energy_fit(samples: Sequence[Sample]) -> Fit:
    """The fit of measured joules; the features of `samples` are those of energy_features. Errors: as calibrate.fit."""
    return fit(samples, ENERGY_TERMS)


def energy_of(fit: Fit, features: Mapping[str, float], latency: Interval) -> Interval:
    """The interval for something of these features and that latency. Errors: MeasureError, KeyError."""
    low, mid, high = (
        fit.predict(energy_features(features, value)) for value in (latency.low, latency.mid, latency.high)
    )
    return Interval(low.low, mid.mid, high.high)


def energies_of(fit: Fit, features: Mapping[str, Any], latency: Intervals) -> Intervals:
    """What `energy_of` gives for every student, from columns; NaN where nothing is known of the latency.

    Shapes: one value per student each. Errors: MeasureError, KeyError.
    """
    import numpy as np

    found = []
    for end in ("low", "mid", "high"):
        seconds = np.asarray(getattr(latency, end), np.float64)
        possible = np.isfinite(seconds)
        columns = energy_features(features, np.where(possible, seconds, 0.0))
        # A latency without an end leaves the energy without one; of an unknown one (NaN) nothing follows.
        found.append(np.where(possible, getattr(fit.predict_many(columns), end), seconds))
    return Intervals(*found)


def power_budget_w(profile: DeviceProfile) -> float | None:
    """The largest power budget that `profile` knows of a mode; None where it knows none."""
    return max((mode.budget.value for mode in profile.power_modes if mode.budget is not None), default=None)


def energy_by_budget(budget_w: float, low_s: Any, mid_s: Any, high_s: Any) -> tuple[Any, Any, Any]:
    """Low, mid and high energy of a latency from low to high; of numbers or of arrays."""
    return LEAST_POWER * budget_w * low_s, MID_POWER * budget_w * mid_s, budget_w * high_s
