"""Correct a prediction by a few measurements: non-negative least squares on relative error, with an honest interval.

A latency (or a peak memory, or a file size) is taken as a sum of few analytic terms, each with a price that cannot be
negative: so much per inference, per layer, per MAC, per byte. Which terms are used is decided by leaving out one sample
at a time, and so is the width of the interval. From 3 samples up; plain Python, since the problems are tiny.
Source: Lawson, Hanson: Solving Least Squares Problems, 1974, chapter 23; split conformal order statistics as in Lei et
al. 2018, arXiv:1604.04173.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from edgekd.errors import MeasureError, RecordError
from edgekd.text import listing

ONE = "one"
Terms = tuple[str, ...]

LEAST_SAMPLES = 3
COVERAGE = 0.9  # what an interval aims at; fewer than 9 samples cannot promise it and say so in `Fit.coverage`
SMALLEST_HALF_WIDTH = 0.02  # pairs repeat to 2 % at best, so no interval is narrower than that
BETTER_BY = 0.9  # a longer model must lower the left-out error by a tenth, else the shorter one stays
RIDGE = 1e-9  # of the mean diagonal: decides between terms that the samples cannot tell apart, changes nothing else
OUTLIER_SHARE = 5  # at most one sample in five is set aside
OUTLIER_RATIO = 6.0  # of the median left-out error of the others
OUTLIER_LEAST = 0.25  # and never a sample that is closer than this to the fit of the others


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value with the analytic features of what was measured. `spread` is its relative dispersion.

    A `confirmed` sample was measured more than once and agreed with itself: it is never set aside.
    """

    name: str
    features: Mapping[str, float]
    value: float
    spread: float = 0.0
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it should lie; the unit is that of the fitted samples."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Prices of analytic terms, and how far off they were for samples they had not seen.

    `half_width` is the natural logarithm of high / mid. `coverage` is the share of further students that the interval
    is expected to hold, if they resemble the samples; `outliers` are the samples that were set aside.
    """

    prices: Mapping[str, float]
    half_width: float
    coverage: float
    samples: int
    outliers: tuple[str, ...] = ()

    def predict(self, features: Mapping[str, float]) -> Interval:
        """The interval for something of these features. Errors: MeasureError when a feature of the fit is missing."""
        try:
            mid = sum(price * (1.0 if term == ONE else features[term]) for term, price in self.prices.items())
        except KeyError as missing:
            raise MeasureError(f"the fit needs the feature {missing}, found {listing(features)}") from None
        factor = math.exp(self.half_width)
        return Interval(mid / factor, mid, mid * factor)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "prices": dict(self.prices),
            "half_width": self.half_width,
            "coverage": self.coverage,
            "samples": self.samples,
            "outliers": list(self.outliers),
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Fit:
        """The fit in `table`. Errors: RecordError for missing, unknown or impossible values."""
        wanted = {"prices", "half_width", "coverage", "samples", "outliers"}
        if set(table) != wanted:
            raise RecordError(f"found a fit with {listing(table) or 'nothing'}, expected {listing(wanted)}")
        prices, outliers = table["prices"], table["outliers"]
        if not isinstance(prices, Mapping) or not prices or not all(_is_amount(price) for price in prices.values()):
            raise RecordError("the prices of a fit must be a table of numbers that are not negative")
        if not isinstance(outliers, list) or not all(isinstance(name, str) for name in outliers):
            raise RecordError("the outliers of a fit must be a list of names")
        for key in ("half_width", "coverage", "samples"):
            if not _is_amount(table[key]):
                raise RecordError(f"{key} of a fit is {table[key]!r}, expected a number that is not negative")
        return cls(
            {str(term): float(price) for term, price in prices.items()},
            float(table["half_width"]),
            float(table["coverage"]),
            int(table["samples"]),
            tuple(outliers),
        )


def fit(samples: Sequence[Sample], models: Sequence[Terms]) -> Fit:
    """The fit of the best of `models` to `samples`; a model is a tuple of feature names, `ONE` for a constant.

    Models go from short to long. One of p terms needs p + 2 samples (the first: p + 1), and a longer one must earn its
    place. The interval comes from the left-out errors: the k-th smallest of n covers k / (n + 1) of further students.
    Errors: MeasureError for fewer than 3 samples, for values that are no positive numbers, for missing features.
    """
    _check(samples, models)
    kept, outliers = list(samples), list[str]()
    chosen, errors = _best_model(kept, models)
    for _ in range(len(samples) // OUTLIER_SHARE):
        suspect = _suspect(kept, models)
        if suspect is None:
            break
        outliers.append(kept.pop(suspect).name)
        chosen, errors = _best_model(kept, models)
    prices = _prices(kept, chosen)
    count = len(errors)
    rank = min(count, math.ceil(COVERAGE * (count + 1)))
    noise = median(sample.spread for sample in kept) / math.sqrt(count)
    return Fit(
        dict(zip(chosen, prices, strict=True)),
        max(sorted(errors)[rank - 1], noise, SMALLEST_HALF_WIDTH),
        min(COVERAGE, rank / (count + 1)),
        count,
        tuple(outliers),
    )


def _check(samples: Sequence[Sample], models: Sequence[Terms]) -> None:
    if len(samples) < LEAST_SAMPLES:
        raise MeasureError(f"a fit needs {LEAST_SAMPLES} measured students, found {len(samples)}. Measure more of them")
    for sample in samples:
        if not (math.isfinite(sample.value) and sample.value > 0):
            raise MeasureError(f"{sample.name}: measured {sample.value!r}, expected a positive number. Measure again")
        missing = {term for model in models for term in model if term != ONE} - set(sample.features)
        if missing:
            raise MeasureError(f"{sample.name}: lacks the feature {listing(missing)}, found {listing(sample.features)}")


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _best_model(samples: Sequence[Sample], models: Sequence[Terms]) -> tuple[Terms, list[float]]:
    """The model with the least left-out error and these errors: |ln(measured / predicted)|, in sample order."""
    best, best_errors = models[0], left_out_errors(samples, models[0])
    for model in models[1:]:
        if len(samples) < len(model) + 2:
            continue
        errors = left_out_errors(samples, model)
        if _size(errors) < BETTER_BY * _size(best_errors):
            best, best_errors = model, errors
    return best, best_errors


def _size(errors: Sequence[float]) -> float:
    # Mean and not median: it must count how far the worst is off, and mean squares would let one sample decide alone.
    return sum(errors) / len(errors)


def left_out_errors(samples: Sequence[Sample], terms: Terms) -> list[float]:
    """|ln(measured / predicted)| of each sample by the fit of all others."""
    errors = []
    for index, sample in enumerate(samples):
        others = [*samples[:index], *samples[index + 1 :]]
        errors.append(_error(sample, terms, _prices(others, terms)))
    return errors


def _error(sample: Sample, terms: Terms, prices: Sequence[float]) -> float:
    predicted = sum(price * value for price, value in zip(prices, _row(sample, terms), strict=True))
    return abs(math.log(sample.value / predicted)) if predicted > 0 else math.inf


def _suspect(samples: Sequence[Sample], models: Sequence[Terms]) -> int | None:
    """The index of the sample that the others agree against whatever the model, or None when there is none.

    A wild sample also spoils the fits that leave another one out; so each suspect is judged by the errors within the
    fit that leaves it out, where it has no say. A model that is too short makes honest samples look wild: all that
    the number of samples allows must agree.
    """
    usable = [terms for terms in models if len(samples) >= len(terms) + 3]
    if not usable:
        return None
    excesses = [
        0.0 if sample.confirmed else min(_excess(samples, index, terms) for terms in usable)
        for index, sample in enumerate(samples)
    ]
    worst = max(range(len(samples)), key=lambda index: excesses[index])
    return worst if excesses[worst] > 1 else None


def _excess(samples: Sequence[Sample], index: int, terms: Terms) -> float:
    """How many times the tolerated error the sample at `index` is from the fit of the others."""
    others = [*samples[:index], *samples[index + 1 :]]
    prices = _prices(others, terms)
    usual = median(_error(other, terms, prices) for other in others)
    return _error(samples[index], terms, prices) / max(OUTLIER_RATIO * usual, OUTLIER_LEAST)


def _row(sample: Sample, terms: Terms) -> list[float]:
    return [1.0 if term == ONE else float(sample.features[term]) for term in terms]


def _prices(samples: Sequence[Sample], terms: Terms) -> list[float]:
    """Non-negative prices that minimise the squared relative errors."""
    rows = [[value / sample.value for value in _row(sample, terms)] for sample in samples]
    return nnls(rows, [1.0] * len(rows))


def nnls(rows: Sequence[Sequence[float]], target: Sequence[float]) -> list[float]:
    """x >= 0 that minimises |A x - b|² for the rows of A and the target b, by active sets on the normal equations.

    Columns are scaled to length 1 first; a ridge of 1e-9 keeps columns that depend on each other solvable.
    """
    columns = list(zip(*rows, strict=True))
    scales = [math.sqrt(_dot(column, column)) or 1.0 for column in columns]
    gram = [
        [_dot(one, other) / (scale * other_scale) for other, other_scale in zip(columns, scales, strict=True)]
        for one, scale in zip(columns, scales, strict=True)
    ]
    right = [_dot(column, target) / scale for column, scale in zip(columns, scales, strict=True)]
    for index in range(len(columns)):
        gram[index][index] += RIDGE
    return [value / scale for value, scale in zip(_active_set(gram, right), scales, strict=True)]


def _active_set(gram: list[list[float]], right: list[float]) -> list[float]:
    count = len(right)
    x = [0.0] * count
    free: list[int] = []
    for _ in range(10 * count + 10):
        slope = [right[i] - _dot(gram[i], x) for i in range(count)]
        entering = max((i for i in range(count) if i not in free), key=lambda i: slope[i], default=None)
        if entering is None or slope[entering] <= 1e-12:
            break
        free = sorted([*free, entering])
        x, free = _descended(gram, right, x, free)
    return x


def _descended(
    gram: list[list[float]], right: list[float], x: list[float], free: list[int]
) -> tuple[list[float], list[int]]:
    """The least-squares point of the free variables, walking from `x` and fixing those that would turn negative."""
    while free:
        inner = [[gram[i][j] for j in free] for i in free]
        goal = dict(zip(free, _solved(inner, [right[i] for i in free]), strict=True))
        if min(goal.values()) > 0:
            return [goal.get(i, 0.0) for i in range(len(x))], free
        step = min(x[i] / (x[i] - goal[i]) for i in free if goal[i] <= 0 and x[i] > goal[i])
        x = [x[i] + step * (goal[i] - x[i]) if i in goal else 0.0 for i in range(len(x))]
        free = [i for i in free if x[i] > 1e-15]
        x = [value if i in free else 0.0 for i, value in enumerate(x)]
    return x, free


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a small symmetric positive definite system, by elimination."""
    count = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for pivot in range(count):
        head = rows[pivot]
        for row in rows[pivot + 1 :]:
            factor = row[pivot] / head[pivot]
            for column in range(pivot, count + 1):
                row[column] -= factor * head[column]
    solution = [0.0] * count
    for index in range(count - 1, -1, -1):
        known = sum(rows[index][column] * solution[column] for column in range(index + 1, count))
        solution[index] = (rows[index][count] - known) / rows[index][index]
    return solution


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(float.__mul__, map(float, one), map(float, other)))
