"""The limits a student must keep, and how a value compares with each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal

from edgekd.device import DeviceProfile
from edgekd.sla import Sla, quantile_from_name
from edgekd.units import text_from_bytes, text_from_j, text_from_s

Quantity = Literal["latency_s", "memory_bytes", "size_bytes", "energy_j"]

# Our choice, for a quiet board: single inferences scatter around their median with this relative deviation, unless the
# measurement itself scattered more. The verdict of `edgekd gate` judges the percentile itself.
TAIL_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: `name` as in the SLA, the quantity it bounds, and the percentile for a latency (0.5 for others)."""

    name: str
    quantity: Quantity
    value: float
    percentile: float = 0.5

    @property
    def metric(self) -> str:
        """The gate's word for what it bounds; the memory of the device and that of the SLA have the same."""
        return self.name if self.quantity == "latency_s" else self.quantity.rpartition("_")[0]

    @property
    def text(self) -> str:
        """The limit's value for a person."""
        return self.text_of(self.value)

    def text_of(self, value: float) -> str:
        """`value` in the unit of this limit, for a person."""
        return {"latency_s": text_from_s, "energy_j": text_from_j}.get(self.quantity, text_from_bytes)(value)

    def scaled(self, value: float, spread: float) -> float:
        """What a median latency of `value` becomes at this limit's percentile; other quantities stay as they are."""
        return value * self.factor(spread)

    def factor(self, spread: float) -> float:
        """How many times a median latency is to be taken at this limit's percentile; 1 for other quantities."""
        return tail_factor(self.percentile, spread) if self.quantity == "latency_s" else 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What one candidate takes, as far as it is known: the upper ends of intervals or of measurements.

    `spread` is the relative deviation of single inferences from their median. By metric, `factors` are how much more
    trained students took than was expected of them, and `truths` what this one took itself.
    """

    latency_s: float | None
    memory_bytes: float | None
    size_bytes: float | None
    spread: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)
    truths: Mapping[str, float] = field(default_factory=dict)
    energy_j: float | None = None

    def at(self, limit: Limit) -> float | None:
        """The value to compare with `limit`, or None when it is not known."""
        if limit.metric in self.truths:
            return self.truths[limit.metric]
        value: float | None = getattr(self, limit.quantity)
        return None if value is None else limit.scaled(value, self.spread) * self.factors.get(limit.metric, 1.0)


def tail_factor(percentile: float, spread: float) -> float:
    """How far above the median a percentile of the latency must be expected, as a factor.

    A normal tail on the larger of the measured spread and 5 %; never below 1. p95 gives 1.08, p99 1.12.
    """
    if percentile <= 0.5:
        return 1.0
    return 1.0 + max(spread, TAIL_SPREAD) * NormalDist().inv_cdf(percentile)


def limits_from_sla(sla: Sla, profile: DeviceProfile) -> list[Limit]:
    """The limits that depend on a student's size, in a fixed order; the memory of the device is one of them."""
    limits = [
        Limit(f"latency.{name}", "latency_s", most_s, quantile_from_name(name)) for name, most_s in sla.latency.items()
    ]
    if sla.memory is not None:
        limits.append(Limit("memory", "memory_bytes", sla.memory))
    if profile.memory_bytes is not None:
        limits.append(Limit(f"memory of {profile.name}", "memory_bytes", profile.memory_bytes))
    if sla.size is not None:
        limits.append(Limit("size", "size_bytes", sla.size))
    if sla.energy is not None:
        limits.append(Limit("energy", "energy_j", sla.energy))
    return limits


def ratios_by_limit(costs: Costs, limits: Sequence[Limit]) -> Mapping[str, float | None]:
    """value / limit by the limit's name; None where the value is not known."""
    found = {}
    for limit in limits:
        value = costs.at(limit)
        found[limit.name] = None if value is None else value / limit.value
    return found
