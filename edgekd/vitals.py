"""What a board went through while it measured: what its side process saw about once a second, and what follows from it.

The traces are evidence and stand in the record as they came; everything here that is computed from them can be computed
again. What a board cannot tell is None, and no function takes None for fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from edgekd.config import Model

# Our choices: clocks of idle moments and of a turbo differ by less, a board that is held back loses a quarter and more.
LEAST_CLOCK_SHARE = 0.85
MOST_SLOW_SHARE = 0.1
# BOOTTIME and MONOTONIC are read one after the other, so that a little between them is nothing.
LEAST_SUSPEND_S = 0.05
# Source: Raspberry Pi documentation, vcgencmd get_throttled; the same four stand 16 bits higher as "has occurred".
THROTTLE_FLAGS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
# Source: Android documentation, PowerManager.getCurrentThermalStatus.
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# The rail that feeds the whole board, by its label on Jetson boards. Source: jetson_stats, jtop/core/power.py
INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN", "5V_IN")
Seconds = Annotated[float, Field(ge=0)]


class Tick(Model):
    """One look at the board, `at_s` seconds after the first. None: could not be read."""

    at_s: Seconds
    clock_hz: Annotated[int, Field(gt=0)] | None = None
    governor: str | None = None
    temperature_c: float | None = None
    throttled: str | None = None
    thermal_status: Annotated[int, Field(ge=0, le=6)] | None = None
    load: float | None = None
    memory_available_bytes: Annotated[int, Field(ge=0)] | None = None
    rails_w: dict[str, float] | None = None


class Vitals(Model):
    """One call of the agent. `cores` are those that were watched, the clock is that of the fastest of them.

    `cgroup_peak_bytes` is of everything in the agent's control group since that began, files in memory included: it
    bounds the memory of an accelerator that uses the board's own, and is no peak of the model alone.
    """

    cores: list[int]
    ticks: Annotated[list[Tick], Field(max_length=2000)]
    suspended_s: Seconds | None = None
    power_mode_before: str | None = None
    power_mode_after: str | None = None
    cgroup_peak_bytes: Annotated[int, Field(gt=0)] | None = None


class RailLook(Model):
    """One look at the rails, `at_s` seconds after the first inference of a stretch."""

    at_s: Seconds
    rails_w: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


class Stretch(Model):
    """One model alone, back to back, `inferences` times in `lasted_s`, with looks at the rails in that time.

    `thread_s` is for how long the thread that ran it had a processor, where it was one thread.
    """

    inferences: Annotated[int, Field(ge=1)]
    lasted_s: Annotated[float, Field(gt=0)]
    thread_s: Annotated[float, Field(gt=0)] | None = None
    looks: Annotated[list[RailLook], Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _in_time(self) -> Stretch:
        times = [look.at_s for look in self.looks]
        if times != sorted(times) or times[-1] > self.lasted_s:
            raise ValueError("the looks of a stretch must follow each other, and none may come after its end")
        return self


def clock_fall(vitals: Sequence[Vitals]) -> tuple[float, float] | None:
    """(share of the time, lowest clock as a share of the highest) when the clock was clearly lower for long; else None.

    The first and the last look of each call are left out: the board loads and tidies up then.
    """
    clocks = [tick.clock_hz for each in vitals for tick in each.ticks[1:-1] if tick.clock_hz is not None]
    if not clocks:
        return None
    top = max(clocks)
    slow = sum(clock < LEAST_CLOCK_SHARE * top for clock in clocks) / len(clocks)
    return (slow, min(clocks) / top) if slow > MOST_SLOW_SHARE else None


def clock_known(vitals: Sequence[Vitals]) -> bool:
    """Whether every call could tell its clock while it measured."""
    return bool(vitals) and all(any(tick.clock_hz is not None for tick in each.ticks) for each in vitals)


def governors(vitals: Sequence[Vitals]) -> list[str]:
    """Every governor that was seen, in order."""
    return list(dict.fromkeys(tick.governor for each in vitals for tick in each.ticks if tick.governor))


def power_modes(vitals: Sequence[Vitals]) -> list[str | None]:
    """Every power mode that was seen, in order; None among them when a call could not tell."""
    return list(dict.fromkeys(mode for each in vitals for mode in (each.power_mode_before, each.power_mode_after)))


def suspended_s(vitals: Sequence[Vitals]) -> float | None:
    """For how long the board slept while it measured; None when a call could not tell, or there is none."""
    known = [each.suspended_s for each in vitals if each.suspended_s is not None]
    return sum(known) if known and len(known) == len(vitals) else None


def throttle_bits(text: str | None) -> int | None:
    """The bits in '0x50005' or 'throttled=0x50005'; None for anything else."""
    try:
        return None if text is None else int(text.rpartition("=")[2].strip(), 16)
    except ValueError:
        return None


def throttled_now(vitals: Sequence[Vitals]) -> list[str]:
    """What held the board back at any look, by name."""
    bits = 0
    for each in vitals:
        for tick in each.ticks:
            bits |= throttle_bits(tick.throttled) or 0
    found = [name for bit, name in enumerate(THROTTLE_FLAGS) if bits >> bit & 1]
    status = max((tick.thermal_status or 0 for each in vitals for tick in each.ticks), default=0)
    return [*found, f"thermal status {THERMAL_STATUS[status]}"] if status else found


def energy_j(vitals: Vitals) -> dict[str, float] | None:
    """Joules of each rail from the first look to the last, by the trapezium rule; None when a look has no rails.

    These are of all that the board did in that time: loading, warming up and idling included.
    """
    ticks = vitals.ticks
    rails = [tick.rails_w for tick in ticks]
    if len(ticks) < 2 or any(one is None or set(one) != set(rails[0] or {}) for one in rails):
        return None
    total = dict.fromkeys(rails[0] or {}, 0.0)
    for first, last in pairwise(ticks):
        for name in total:
            power_w = ((first.rails_w or {})[name] + (last.rails_w or {})[name]) / 2
            total[name] += power_w * (last.at_s - first.at_s)
    return total


def input_rail(vitals: Sequence[Vitals]) -> str | None:
    """The rail that feeds the whole board, where every call could tell its power at every look; else None."""
    energies = [energy_j(each) for each in vitals]
    return next((name for name in INPUT_RAILS if vitals and all(one and name in one for one in energies)), None)


def input_power_w(vitals: Sequence[Vitals]) -> tuple[str, float] | None:
    """(rail, mean watts) of what fed the whole board over all calls; None unless every call could tell it."""
    rail = input_rail(vitals)
    length_s = sum(each.ticks[-1].at_s - each.ticks[0].at_s for each in vitals if each.ticks)
    if rail is None or length_s <= 0:
        return None
    return rail, sum((energy_j(each) or {})[rail] for each in vitals) / length_s
