"""Find the stretches of a measuring campaign that ran under another condition: throttled, disturbed, ten times slower.

Values stand in the order in which they were measured. What a fit leaves unexplained should then jump about without
memory; where it stays off to one side, the machine had changed and not the models. A window is reported when its
errors lie further to one side than any window of the same errors in shuffled order, and by enough to matter.
Source: scan statistics with permutation thresholds, as in Walther, Perry 2022, arXiv:2003.12162; bounded errors as in
Huber 1964, so that one wild value makes no window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.calibrate import ONE, Backbone, Sample, checked
from edgekd.cost.fitting import steady_errors
from edgekd.cost.nnls import Floats

LEAST_ROWS = 8  # fewer may be single wild values, which a fit sets aside by itself (our choice)
LEAST_SHIFT = math.log(
    1.06
)  # of the 10 % within which a prediction should be, less than that leaves most there (our choice)
FALSE_ALARM = 0.01  # chance that errors without any drift show a window
SHUFFLES = 199
BOUND = 3.0  # deviations: beyond that an error is wild, and how wild says nothing
LENGTH_STEP = 1.1  # a window of a length in between is found by its neighbour, then refined
ROUNDS = 5  # of fitting and looking again
NORMAL_MAD = 1.4826
LEAST_DEVIATION = 1e-4  # errors of rounding are no noise


@dataclass(frozen=True, slots=True)
class Window:
    """Rows `first` to `last`, both included, were off by `shift`: ln(level there / level of the rest)."""

    first: int
    last: int
    shift: float

    @property
    def rows(self) -> range:
        """The positions of its rows."""
        return range(self.first, self.last + 1)


def drifted_samples(samples: Sequence[Sample], terms: Sequence[str], backbone: Backbone | None = None) -> list[Window]:
    """The windows of `samples`, in the order in which they were measured, that a fit of the others does not explain.

    `terms` and `backbone` are those of `edgekd.cost.calibrate.fit`. Errors: as there.
    """
    wanted, sums = checked(samples, terms, backbone)
    rows = np.array([[1.0 if term == ONE else float(sample.features[term]) for term in wanted] for sample in samples])
    values = np.array([sample.value for sample in samples])
    weights = np.array([[part.get(term, 0.0) for part in sums] for term in wanted])
    windows: list[Window] = []
    for _ in range(ROUNDS):
        errors = steady_errors(rows, values, weights, _rest(windows, len(samples)))
        found = drifted_windows(errors)
        if [(one.first, one.last) for one in found] == [(one.first, one.last) for one in windows]:
            break
        windows = found
    return windows


def drifted_windows(errors: Sequence[float] | Floats, seed: int = 0) -> list[Window]:
    """The windows in which `errors`, ln(measured / predicted) in the order of measuring, are off together.

    The rest, at least half of the rows, is taken for normal. The largest window is taken out first, then the search
    starts again without it. Errors without any drift give a window once in a hundred times.
    """
    values = np.asarray(errors, dtype=float)
    left = np.arange(len(values))
    rng = np.random.default_rng(seed)
    while len(left) > max(2 * LEAST_ROWS, len(values) // 2):
        scan = _Scan.of(values[left])
        found = scan.largest(scan.threshold(rng))
        if found is None:
            break
        left = np.delete(left, slice(*found))
    normal = np.zeros(len(values), dtype=bool)
    normal[left] = True
    level = float(np.median(values[normal])) if len(left) else 0.0
    return [Window(first, last, float(np.median(values[first : last + 1])) - level) for first, last in _runs(~normal)]


def _rest(windows: Sequence[Window], count: int) -> NDArray[np.bool_]:
    rest = np.ones(count, dtype=bool)
    for window in windows:
        rest[window.first : window.last + 1] = False
    return rest


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        yield int(start), int(stop) - 1


@dataclass(frozen=True)
class _Scan:
    """Errors on their way through all windows: `bounded` in deviations with mean 0, and the sums that tell a window.

    A window's weight is the sum of its bounded errors over the root of their number; its shift is the mean distance of
    the errors from their median, at most twice the least shift that matters each.
    """

    bounded: Floats
    sums: Floats
    shifts: Floats

    @classmethod
    def of(cls, errors: Floats) -> _Scan:
        middle = centre = float(np.median(errors))
        deviation = max(NORMAL_MAD * float(np.median(np.abs(errors - centre))), LEAST_DEVIATION)
        for _ in range(
            50
        ):  # the centre with bounded errors in balance, or long windows would seem off for being skewed
            centre += deviation * float(np.clip((errors - centre) / deviation, -BOUND, BOUND).mean())
        bounded = np.clip((errors - centre) / deviation, -BOUND, BOUND)
        shifts = np.clip(errors - middle, -2 * LEAST_SHIFT, 2 * LEAST_SHIFT)
        return cls(bounded, _running(bounded), _running(shifts))

    def lengths(self) -> list[int]:
        most, length, found = len(self.bounded) // 2, LEAST_ROWS, list[int]()
        while length <= most:
            found.append(length)
            length = max(length + 1, int(length * LENGTH_STEP))
        return found

    def threshold(self, rng: np.random.Generator) -> float:
        """The weight that windows of shuffled errors exceed with the chance of a false alarm."""
        lengths = self.lengths()
        most = []
        for _ in range(SHUFFLES):
            sums = _running(rng.permutation(self.bounded))
            most.append(max(float(_weights(sums, length).max()) for length in lengths))
        return sorted(most)[math.ceil((1 - FALSE_ALARM) * (SHUFFLES + 1)) - 1]

    def largest(self, threshold: float) -> tuple[int, int] | None:
        """The window, from start to stop, of the largest weight above `threshold` whose shift matters."""
        best, place = threshold, None
        for length in self.lengths():
            shift = np.abs(self.shifts[length:] - self.shifts[:-length]) / length
            weights = np.where(shift >= LEAST_SHIFT, _weights(self.sums, length), 0.0)
            start = int(np.argmax(weights))
            if weights[start] > best:
                best, place = float(weights[start]), (start, start + length)
        return None if place is None else self._refined(*place)

    def _refined(self, start: int, stop: int) -> tuple[int, int]:
        """The window of the largest weight near this one, each end moved in turn."""
        for _ in range(3):
            reach = max(LEAST_ROWS, (stop - start) // 5)
            stops = np.arange(max(start + LEAST_ROWS, stop - reach), min(len(self.bounded), stop + reach) + 1)
            stop = int(stops[np.argmax(self._weight(np.full_like(stops, start), stops))])
            starts = np.arange(max(0, start - reach), min(stop - LEAST_ROWS, start + reach) + 1)
            start = int(starts[np.argmax(self._weight(starts, np.full_like(starts, stop)))])
        return start, stop

    def _weight(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Floats:
        lengths = stops - starts
        shift = np.abs(self.shifts[stops] - self.shifts[starts]) / lengths
        weights = np.abs(self.sums[stops] - self.sums[starts]) / np.sqrt(lengths)
        return np.asarray(np.where(shift >= LEAST_SHIFT, weights, 0.0))


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _weights(sums: Floats, length: int) -> Floats:
    return np.asarray(np.abs(sums[length:] - sums[:-length]) / math.sqrt(length))
