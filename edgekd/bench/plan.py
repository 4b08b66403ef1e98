"""How to measure: how long, how often, with how many threads and on which inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.errors import InputError
from edgekd.text import printable

MAX_PROCESSES = 1000
MAX_SAMPLES = 10_000_000
MAX_DURATION_S = 24 * 3600.0
_MAX_SIZE = 2**31 - 1
# Loading and the first inferences of a large model on a slow board have no bound of their own.
_SLACK_S = 300.0


@dataclass(frozen=True)
class BenchPlan:
    """The protocol of a measurement; durations, counts and limits hold for each of `processes` process runs.

    `dims` gives sizes to the free dimensions of any model by their names, `shapes` whole shapes to inputs by theirs.
    Integers that are neither masks nor positions are drawn from 0 to `id_limit` - 1; `input_data` is an .npz of arrays
    that takes the place of drawn inputs. `tune` sets governor and clocks of the board while it measures.

    Shapes: `shapes` maps an input's name to its sizes, such as {"input_ids": (1, 64)}.
    Errors: InputError when a setting cannot be.
    """

    threads: int = 1
    processes: int = 10
    warmup_s: float = 1.0
    min_duration_s: float = 6.0
    min_samples: int = 100
    max_duration_s: float = 60.0
    dims: Mapping[str, int] = field(default_factory=lambda: {"batch": 1, "batch_size": 1})
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    id_limit: int = 2
    input_data: Path | None = None
    tune: bool = False

    def __post_init__(self) -> None:
        _check_count("threads", self.threads, 1, 1024)
        _check_count("processes", self.processes, 1, MAX_PROCESSES)
        _check_count("min_samples", self.min_samples, 1, MAX_SAMPLES)
        _check_count("id_limit", self.id_limit, 1, _MAX_SIZE)
        _check_duration("warmup_s", self.warmup_s, at_least_s=0)
        _check_duration("min_duration_s", self.min_duration_s, at_least_s=0)
        _check_duration("max_duration_s", self.max_duration_s, at_least_s=0.001)
        if self.max_duration_s < self.min_duration_s:
            raise InputError(
                f"bench plan: max_duration_s is {self.max_duration_s:g}, expected at least "
                f"the min_duration_s of {self.min_duration_s:g}"
            )
        for name, size in self.dims.items():
            _check_count(f"the dimension {_shown(name)}", size, 1, _MAX_SIZE)
        for name, shape in self.shapes.items():
            for size in shape:
                _check_count(f"the shape of {_shown(name)}", size, 1, _MAX_SIZE)

    @property
    def timeout_s(self) -> float:
        """After how long a process run is given up."""
        return _SLACK_S + 2 * (self.warmup_s + self.max_duration_s)

    def spec(self) -> dict[str, Any]:
        """The part of the agent's orders that is the same for every model."""
        return {
            "threads": self.threads,
            "warmup_s": self.warmup_s,
            "min_duration_s": self.min_duration_s,
            "min_samples": self.min_samples,
            "max_duration_s": self.max_duration_s,
            "dims": dict(self.dims),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "id_limit": self.id_limit,
            "seed": 0,
            "tune": self.tune,
        }


def shape_from_text(text: str) -> tuple[str, tuple[int, ...]]:
    """('input_ids', (1, 64)) from 'input_ids=1x64'. Errors: InputError with the form."""
    name, equals, sizes = text.partition("=")
    words = sizes.strip().split("x")
    if (
        not equals
        or not name.strip()
        or not all(word.isascii() and word.isdigit() and len(word) < 11 for word in words)
    ):
        raise InputError(f"--shape {_shown(text)}: expected NAME=SIZExSIZE, such as --shape input_ids=1x64")
    return name.strip(), tuple(int(word) for word in words)


def _check_count(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"bench plan: {name} is {_shown(value)}, expected a whole number from {least} to {most}")


def _check_duration(name: str, value: float, *, at_least_s: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not at_least_s <= value <= MAX_DURATION_S:
        raise InputError(
            f"bench plan: {name} is {_shown(value)}, expected seconds from {at_least_s:g} to {MAX_DURATION_S:g}"
        )


def _shown(value: object) -> str:
    return printable(repr(value), 60)
