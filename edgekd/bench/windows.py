"""Which visits of a campaign were made under another condition than the rest, and how to compare those that were not.

A visit is one paired run of one student. The sentinel that runs after a student finds caches that the student emptied,
so its time tells of the student's size, and, beyond that, of what disturbs the board. The first part is a curve that
rises with the student's time to a plateau; the rest is the disturbance. A student feels a share of it: by how much,
the campaign knows itself, from visits of one student at different disturbances. That share is the sensitivity; students
of about one size have one, since those that fit into a shared cache, just not, or never feel neighbours differently.
Times are compared as they would be without the disturbance, and count the less the more of it had to be taken off.
A visit far above the curve is another matter: a board that throttles is another machine, so the visit is made again.
So are visits in a stretch where students take longer than in their other visits although the sentinel does not: not
everything disturbs it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

QUIET_SHARE = 0.25  # our choice: with few visits, a quarter of them is taken to be undisturbed
# So few visits tell that a board still is the one whose level is known. On two shared cores, whose neighbours slowed
# them by 1.45 most of the time, 5 to 30 % of the visits of a campaign were undisturbed.
QUIETEST_SHARE = 0.03
SLOWER_BY = 1.25  # our choice: a step of a governor or a throttle moves more than this, pairs on a busy machine less
BRIDGED = 1  # a single undisturbed visit between disturbed ones does not end their window
TORN_LEAST = 0.08  # as a logarithm: visits on a busy machine repeat to about 3 %
TORN_TIMES = 5.0  # times the usual deviation
USUAL_SENSITIVITY = 0.5  # our choice, until visits tell; benchmarks/predictor/live.py reports each
USUAL_WEIGHT = 5 * 0.05**2  # our choice: as sure of it as five visits that differ by 5 % could make us
# Where the curve is half-way up, in quiet times of the sentinel: what fits best counts.
HALF_WAY = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
UNDISTURBED = 1.15  # our choice: levels of undisturbed visits scattered by 4 % about the curve, on two shared cores
LEAST_FOR_CURVE = 12  # our choice: with fewer visits the level is taken to be the same for all students
SIZES_ALIKE = 0.7  # as a logarithm of times: students so near in size tell of each other's sensitivity
MOST_SENSITIVE = (
    2.0  # our choice: at the edge of a shared cache students were slowed by the power 1.3 of the sentinel's
)
# How far off is a time after nothing was taken off, and how much more for each e-fold of the disturbance. Of 0.1, 0.2,
# 0.3 and 0.5 for the second, halves of the visits of 131 students in four campaigns agreed best after 0.1 and 0.2.
OFF_ALONE, OFF_BY_DISTURBANCE = 0.03, 0.15
ROUNDS = 20  # of iterated weights, for the least sum of absolute deviations
_TINY = 1e-9


# (ln of a student's least time in seconds, its sensitivity), in rising order; without any, all have the same.
Sizes = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Visit:
    """One paired run: the times of student and sentinel in it, and the relative standard error of the first."""

    name: str
    model_s: float
    level_s: float
    error: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The sentinel's undisturbed time after a student whose least time is `least_s`; parameters are log seconds.

    It rises from `low` by `rise` and is half-way up at `middle`; it never falls below `floor`.
    """

    low: float
    rise: float
    middle: float
    floor: float

    def level_s(self, least_s: float) -> float:
        """That time."""
        return math.exp(max(self.floor, self.low + self.rise * _share(math.log(least_s), self.middle)))


@dataclass(frozen=True, slots=True)
class Level:
    """What an earlier campaign on the same board learned: times compared at one level can be compared with its own.

    `sensitivity` is that of all students together, `by_size` that of students of each size.
    """

    curve: Curve
    sensitivity: float
    by_size: Sizes = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Visits `first` to `last`, in the order of time, at `slower` times the quiet level.

    That is the level of the sentinel, or of the students themselves where the sentinel did not tell.
    """

    first: int
    last: int
    slower: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What stood out: windows at another level, and single visits that disagree with the others of their student.

    `disturbances` holds, for each visit, by which factor the sentinel was slower than undisturbed, `shares` by which
    power of that its student was. `sensitivity` is that of all students together, `by_size` that of each size.
    `unexplained` are visits that are off though the sentinel does not tell why.
    """

    curve: Curve
    disturbances: tuple[float, ...]
    sensitivity: float
    by_size: Sizes
    shares: tuple[float, ...]
    windows: tuple[Window, ...]
    torn: tuple[int, ...]
    unexplained: frozenset[int]

    def undisturbed_s(self, visits: Sequence[Visit], index: int) -> float:
        """The student's time in the visit at `index`, as it would have been without the disturbance."""
        return visits[index].model_s * math.pow(self.disturbances[index], -self.shares[index])

    def weight(self, index: int) -> float:
        """How much the time of the visit at `index` counts beside others of its student; 0 where it is unexplained."""
        if index in self.unexplained:
            return 0.0
        return 1 / (1 + (OFF_BY_DISTURBANCE / OFF_ALONE * math.log(self.disturbances[index])) ** 2)

    @property
    def doubtful(self) -> set[int]:
        """The positions of all visits that are not to be believed alone.

        An undisturbed visit among disturbed ones is believed: on a board with neighbours each visit finds its own.
        """
        return {index for index, slower in enumerate(self.disturbances) if slower > SLOWER_BY} | self.unexplained


def findings(visits: Sequence[Visit], level: Level | None = None) -> Findings:
    """What stands out among `visits`, of which there is one at least; they are in the order of time.

    A `level` that is known counts, unless the board was at another one all the time: then it is another board.
    """
    least_s: dict[str, float] = {}
    for visit in visits:
        least_s[visit.name] = min(visit.model_s, least_s.get(visit.name, math.inf))
    if level is not None and not _is_near(level.curve, visits, least_s):
        level = None
    curve = curve_of(visits) if level is None else level.curve
    disturbances = tuple(visit.level_s / curve.level_s(least_s[visit.name]) for visit in visits)
    windows = _windows(disturbances)
    steady = [index for index, slower in enumerate(disturbances) if slower <= SLOWER_BY]
    usual = USUAL_SENSITIVITY if level is None else level.sensitivity
    sensitivity = sensitivity_of([visits[index] for index in steady], [disturbances[index] for index in steady], usual)
    by_size = sensitivities(visits, disturbances, least_s, sensitivity) if level is None else level.by_size
    shares = tuple(sensitivity_at(by_size, least_s[visit.name], sensitivity) for visit in visits)
    found = Findings(curve, disturbances, sensitivity, by_size, shares, windows, (), frozenset())
    off = _deviations({index: (visits[index].name, found.undisturbed_s(visits, index)) for index in steady})
    drifts = _drifts(off)
    inside = {index for window in drifts for index in range(window.first, window.last + 1)}
    torn = _torn({index: value for index, value in off.items() if index not in inside})
    both = tuple(sorted([*windows, *drifts], key=lambda window: window.first))
    return replace(found, windows=both, torn=torn, unexplained=frozenset({*inside, *torn}))


def _is_near(curve: Curve, visits: Sequence[Visit], least_s: Mapping[str, float]) -> bool:
    """Whether the quietest visits are about as quiet as `curve` says; a single one may be an accident."""
    levels = sorted(math.log(visit.level_s / curve.level_s(least_s[visit.name])) for visit in visits)
    place = max(1, int(QUIETEST_SHARE * len(levels)))
    return abs(levels[min(place, len(levels) - 1)]) <= math.log(SLOWER_BY)


def curve_of(visits: Sequence[Visit]) -> Curve:
    """The curve of the sentinel's undisturbed level, by the least sum of absolute deviations over students.

    Of each student the visit with the least level counts, so that even a board that was slow most of the time has one.
    Students far above the curve through all had no undisturbed visit; it is drawn again without them.
    """
    best: dict[str, tuple[float, float]] = {}
    for visit in visits:
        time_s, level_s = best.get(visit.name, (math.inf, math.inf))
        best[visit.name] = min(time_s, visit.model_s), min(level_s, visit.level_s)
    points = [(math.log(time_s), math.log(level_s)) for time_s, level_s in best.values()]
    levels = sorted(level for _, level in points)
    if len(points) < LEAST_FOR_CURVE:
        quiet = levels[int(QUIET_SHARE * len(levels))]
        return Curve(quiet, 0.0, 0.0, quiet)
    curve = _curve_through(points, levels[0])
    near = [(time, level) for time, level in points if level < math.log(UNDISTURBED * curve.level_s(math.exp(time)))]
    return curve if len(near) < LEAST_FOR_CURVE else _curve_through(near, levels[0])


def _curve_through(points: Sequence[tuple[float, float]], floor: float) -> Curve:
    _, low, rise, middle = min(_risen(points, floor + math.log(times)) for times in HALF_WAY)
    return Curve(low, rise, middle, floor)


def _risen(points: Sequence[tuple[float, float]], middle: float) -> tuple[float, float, float, float]:
    """(sum of absolute deviations, low, rise, middle) of the curve with that middle and a rise that is not negative."""
    shares, levels = [_share(time, middle) for time, _ in points], [level for _, level in points]
    weights = [1.0] * len(points)
    low = rise = 0.0
    for _ in range(ROUNDS):
        total = sum(weights)
        share = sum(weight * value for weight, value in zip(weights, shares, strict=True)) / total
        level = sum(weight * value for weight, value in zip(weights, levels, strict=True)) / total
        spread = sum(weight * (value - share) ** 2 for weight, value in zip(weights, shares, strict=True))
        common = sum(w * (x - share) * (y - level) for w, x, y in zip(weights, shares, levels, strict=True))
        rise = max(0.0, common / spread) if spread > _TINY else 0.0
        low = level - rise * share
        off = [abs(y - low - rise * x) for x, y in zip(shares, levels, strict=True)]
        weights = [1 / max(value, 0.005) for value in off]
    return sum(off), low, rise, middle


def _share(time: float, middle: float) -> float:
    return 1 / (1 + math.exp(min(middle - time, 50.0)))


def sensitivity_of(visits: Sequence[Visit], disturbances: Sequence[float], usual: float = USUAL_SENSITIVITY) -> float:
    """By which power of the disturbance students get slower: 0 not at all, 1 as much as the sentinel.

    The slope of a student's log time over the log disturbance between its own visits, pooled over students; with few
    visits, or hardly different ones, the `usual` value.
    """
    together, alone = usual * USUAL_WEIGHT, USUAL_WEIGHT
    for products, squares in _slopes(visits, disturbances).values():
        together, alone = together + products, alone + squares
    return min(max(together / alone, 0.0), 1.0)


def sensitivities(
    visits: Sequence[Visit], disturbances: Sequence[float], least_s: Mapping[str, float], usual: float
) -> Sizes:
    """The sensitivity of each student, from its own visits and those of others the more the nearer they are in size.

    `least_s` are the students' least times by name. Where visits tell little it is near `usual`.
    """
    slopes = _slopes(visits, disturbances)
    found = []
    for size in sorted({math.log(least_s[name]) for name in slopes}):
        together, alone = usual * USUAL_WEIGHT, USUAL_WEIGHT
        for name, (products, squares) in slopes.items():
            near = math.exp(-(((math.log(least_s[name]) - size) / SIZES_ALIKE) ** 2) / 2)
            together, alone = together + near * products, alone + near * squares
        found.append((size, min(max(together / alone, 0.0), MOST_SENSITIVE)))
    return tuple(found)


def sensitivity_at(by_size: Sizes, least_s: float, usual: float) -> float:
    """That of a student whose least time is `least_s`: between its two neighbours in size; beyond the ends as there."""
    if not by_size:
        return usual
    size = math.log(least_s)
    place = bisect_left(by_size, (size, -math.inf))
    if place in (0, len(by_size)):
        return by_size[min(place, len(by_size) - 1)][1]
    (low, before), (high, after) = by_size[place - 1], by_size[place]
    return before + (after - before) * (size - low) / (high - low)


def _slopes(visits: Sequence[Visit], disturbances: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Of each student the sums of products and of squares whose ratio is the slope of its log times, by name."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for visit, slower in zip(visits, disturbances, strict=True):
        by_name.setdefault(visit.name, []).append((math.log(visit.model_s), math.log(slower)))
    found = {}
    for name, own in by_name.items():
        time, level = fmean(one for one, _ in own), fmean(other for _, other in own)
        products = sum((one - time) * (other - level) for one, other in own)
        found[name] = products, sum((other - level) ** 2 for _, other in own)
    return found


def _windows(slower: Sequence[float]) -> tuple[Window, ...]:
    spans: list[list[int]] = []
    for index in (index for index, value in enumerate(slower) if value > SLOWER_BY):
        if spans and index - spans[-1][1] <= BRIDGED + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return tuple(Window(first, last, median(slower[first : last + 1])) for first, last in spans)


def _deviations(times_s: Mapping[int, tuple[str, float]]) -> dict[int, float]:
    """ln(time / median of its student) of each visit, by position, where there are three of the student at least."""
    by_name: dict[str, dict[int, float]] = {}
    for index, (name, time_s) in times_s.items():
        by_name.setdefault(name, {})[index] = math.log(time_s)
    off: dict[int, float] = {}
    for logs in by_name.values():
        if len(logs) > 2:
            middle = median(logs.values())
            off |= {index: value - middle for index, value in logs.items()}
    return dict(sorted(off.items()))


def _drifts(off: Mapping[int, float]) -> tuple[Window, ...]:
    """Windows in which all students took longer than they usually do, or less, and the sentinel did not tell."""
    from edgekd.cost.drift import drifted_windows

    places = list(off)
    found = drifted_windows(list(off.values())) if places else []
    return tuple(Window(places[one.first], places[one.last], math.exp(one.shift)) for one in found)


def _torn(off: Mapping[int, float]) -> tuple[int, ...]:
    """Visits that are far from the median of their student."""
    if not off:
        return ()
    most = max(TORN_LEAST, TORN_TIMES * median(map(abs, off.values())))
    return tuple(sorted(index for index, value in off.items() if abs(value) > most))
