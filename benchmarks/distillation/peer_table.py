"""From the turns and answers of peers.py to ratios, intervals, goals and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLAIN, OURS, ONLINE = "plain", "edgekd", "edgekd-online"
NAMES = {
    PLAIN: "plain fine-tuning",
    OURS: "edgekd, cached answers",
    ONLINE: "edgekd, teacher in every step",
    "textbrewer": "TextBrewer, teacher in every step",
    "textbrewer-cached": "TextBrewer, cached answers",
    "torchdistill": "torchdistill, teacher in every step",
}
COLUMNS = ("data", "method", "seeds", "right", "95 % interval", "steps/s by plain", "95 % interval")
DRAWS = 2000
LEAST_SPEED_UP, MOST_OVERHEAD = 1.5, 0.05

Right = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number and where it lies in 95 of 100 drawn repetitions."""

    value: float
    low: float
    high: float

    def text(self, form: str) -> str:
        """'low to high'."""
        return f"{self.low:{form}} to {self.high:{form}}"

    def to_list(self) -> list[float]:
        """The three numbers."""
        return [self.value, self.low, self.high]


def relative_speeds(turns: Mapping[str, Sequence[float]], method: str, other: str) -> list[float]:
    """Per round: the seconds of `other` by those of `method`, in a session whose methods took turns.

    `turns` holds the seconds of each method's rounds, in the order of the turns. `other` counts as it stands between
    its turns before and after that of `method`, on a straight line. The first round warms up and is left out.
    """
    order = list(turns)

    def places(name: str) -> list[int]:
        return [round_ * len(order) + order.index(name) for round_ in range(1, len(turns[name]))]

    known, wanted = places(other), places(method)
    return [
        float(np.interp(place, known, turns[other][1:])) / seconds
        for place, seconds in zip(wanted, turns[method][1:], strict=True)
        if known and known[0] <= place <= known[-1]
    ]


def median_interval(values: Sequence[float]) -> Interval:
    """The median, and its interval over the values drawn again."""
    found = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    medians = np.median(found[rng.integers(0, len(found), (DRAWS, len(found)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(found)), float(low), float(high))


def mean_interval(right: Right) -> Interval:
    """The mean, and its interval over seeds and examples, both drawn again.

    Shapes: [seeds, examples].
    """
    rng = np.random.default_rng(0)
    seeds, examples = right.shape
    drawn = np.empty(DRAWS)
    for at in range(DRAWS):
        by_example = right[rng.integers(0, seeds, seeds)].mean(axis=0)
        drawn[at] = by_example[rng.integers(0, examples, examples)].mean()
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(right.mean()), float(low), float(high))


@dataclass(frozen=True)
class Outcome:
    """What the finished sessions of one case tell: per method the right answers, [seeds, examples], and the ratios.

    `failed` says why a method could not be run. Ratios are by plain fine-tuning, `speed_up` of ours by ours online.
    """

    right: dict[str, Right]
    ratios: dict[str, list[float]]
    speed_up: list[float]
    failed: dict[str, str]


def outcome(sessions: Sequence[Mapping[str, Any]], labels: Sequence[int], failed: Mapping[str, str]) -> Outcome:
    """The sessions of one case, put together. A method counts that ended in all of them."""
    reasons = dict(failed)
    for session in sessions:
        reasons |= session["failed"]
    ended = [method for method in NAMES if method not in reasons and all(method in one["answers"] for one in sessions)]
    truth = np.asarray(labels)
    right = {
        method: np.array([np.asarray(one["answers"][method]) == truth for one in sessions]).astype(float)
        for method in ended
    }
    ratios: dict[str, list[float]] = {method: [] for method in ended if method != PLAIN}
    speed_up: list[float] = []
    for session in sessions:
        turns = session["turns"]
        if PLAIN in ended:
            for method in ratios:
                ratios[method] += relative_speeds(turns, method, PLAIN)
        if OURS in ended and ONLINE in ended:
            speed_up += relative_speeds(turns, OURS, ONLINE)
    return Outcome(right, ratios, speed_up, reasons)


def rows_of(name: str, found: Outcome) -> list[list[str]]:
    """A table row for each method, those that could not be run with the reason."""
    rows = []
    for method, shown in NAMES.items():
        if method in found.failed:
            rows.append([name, shown, "-", f"could not be run: {found.failed[method]}", "-", "-", "-"])
        elif method in found.right:
            right = mean_interval(found.right[method])
            row = [name, shown, str(len(found.right[method])), f"{right.value:.2%}", right.text(".2%")]
            ratios = found.ratios.get(method)
            if method == PLAIN:
                row += ["1", "-"]
            elif ratios:
                speed = median_interval(ratios)
                row += [f"{speed.value:.3f}", speed.text(".3f")]
            else:
                row += ["too few turns", "-"]
            rows.append(row)
    return rows


def verdict(interval: Interval, goal: float) -> str:
    """Whether a number that must reach `goal` does, as far as its interval tells."""
    if interval.low >= goal:
        return "holds"
    return "does not hold" if interval.high < goal else "is not decided"


def _not_below(right: Mapping[str, Right], group: Sequence[str], name: str) -> tuple[str, str, list[float]]:
    best = max(group, key=lambda method: float(right[method].mean()))
    gap = mean_interval(right[OURS] - right[best])
    said = "holds" if gap.high >= 0 else "does not hold"
    points = Interval(100 * gap.value, 100 * gap.low, 100 * gap.high)
    return (
        f"not below the best of the {name}, beyond the interval",
        f"{said}: {points.value:+.2f} points against {NAMES[best]} ({points.text('+.2f')})",
        gap.to_list(),
    )


def goals(found: Outcome, epochs: int) -> list[tuple[str, str, list[float]]]:
    """The goals: what is wanted, what was found with the verdict, and the numbers."""
    told: list[tuple[str, str, list[float]]] = []
    others = [method for method in found.right if method not in (OURS, ONLINE)]
    libraries = [method for method in others if method != PLAIN]
    if OURS in found.right:
        told += [
            _not_below(found.right, group, name)
            for group, name in ((others, "others"), (libraries, "other libraries"))
            if group
        ]
    if found.speed_up:
        speed = median_interval(found.speed_up)
        # Filling the cache asks the teacher as often as one epoch of the other way does.
        whole = speed.value / (1 + (speed.value - 1) / epochs)
        counted = f"{whole:.2f} times with the one pass that fills the cache counted in, over {epochs} epochs"
        told.append((
            f"at least {LEAST_SPEED_UP} times the steps per second of asking the teacher in every step",
            f"{verdict(speed, LEAST_SPEED_UP)}: {speed.value:.2f} times ({speed.text('.2f')}); {counted}",
            speed.to_list(),
        ))  # fmt: skip
    if found.ratios.get(OURS):
        slower = median_interval([1 / ratio - 1 for ratio in found.ratios[OURS]])
        negative = Interval(-slower.value, -slower.high, -slower.low)
        told.append((
            f"at most {MOST_OVERHEAD:.0%} more time per step than plain fine-tuning".replace("%", " %"),
            f"{verdict(negative, -MOST_OVERHEAD)}: {slower.value:+.1%} ({slower.text('+.1%')})",
            slower.to_list(),
        ))  # fmt: skip
    return told
