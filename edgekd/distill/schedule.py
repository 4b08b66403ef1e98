"""Settings that change while a student learns, as pure functions of the step: resumed, it reads the same values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgekd.errors import InputError

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """From `start` to `end` over the first `until` of the steps, a share; `end` from there on.

    `constant` is `start` all along. `cosine` begins and ends slowly.
    Errors: InputError for a share outside 0 … 1, or 0.
    """

    start: float
    end: float
    shape: Shape = "linear"
    until: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.until <= 1:
            raise InputError(f"schedule: found until {self.until}, expected a share of the steps above 0, at most 1")

    def at(self, step: int, steps: int) -> float:
        """The value for the step after `step` steps, of `steps` in all."""
        if self.shape == "constant":
            return self.start
        done = step / max(self.until * steps, 1.0)
        if done >= 1:
            return self.end
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.end - self.start) * done

    @property
    def highest(self) -> float:
        """No value is greater."""
        return self.start if self.shape == "constant" else max(self.start, self.end)


Level = float | Schedule
"""A setting that stays, or one that changes."""


def level_at(level: Level, step: int, steps: int) -> float:
    """The value of `level` for the step after `step` steps, of `steps` in all."""
    return level.at(step, steps) if isinstance(level, Schedule) else level


def ends_at(level: Level) -> float:
    """The share of the steps after which `level` is 0 for good; 1 where it never is."""
    falls = isinstance(level, Schedule) and level.shape != "constant" and level.end == 0
    return level.until if isinstance(level, Schedule) and falls else 1.0


def highest(level: Level) -> float:
    """No value of `level` is greater."""
    return level.highest if isinstance(level, Schedule) else level
