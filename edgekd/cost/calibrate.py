"""Correct a prediction by a few measurements: prices of analytic terms, with an honest interval.

A latency (or a peak memory, or a file size) is taken as a sum of analytic terms, each with a price that cannot be
negative: so much per inference, per layer, per MAC, per byte. From 3 samples up; how the prices are found is told in
fitting.py. The interval comes from the errors of left-out samples and grows where a student is unlike the samples.
This module itself needs no numpy, so that a stored fit is read and asked everywhere; `fit` and `predict_many` need it.
Source: conformal order statistics of left-out errors as in Barber et al. 2021, arXiv:1905.02928 (jackknife+), which
are studentised here by the leverage of ridge regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekd.errors import MeasureError, MissingExtra, RecordError
from edgekd.stats import student_t_quantile
from edgekd.text import listing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ONE = "one"
Terms = tuple[str, ...]
Backbone = Sequence[Mapping[str, float]]

VERSION = 3
LEAST_SAMPLES = 3
COVERAGE = 0.9  # what an interval aims at; fewer than 9 samples cannot promise it and say so in `Fit.coverage`
SMALLEST_HALF_WIDTH = 0.02  # pairs repeat to 2 % at best, so no interval is narrower than that
LARGEST_HALF_WIDTH = math.log(1000)  # beyond a factor of a thousand nothing is known anyway
CHUNK = 8192  # students whose features stay in the cache together


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
class Intervals:
    """Many intervals. Shapes: one value per student each."""

    low: NDArray[np.float64]
    mid: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """Prices of analytic terms, and how far off they were for samples they had not seen.

    `half_width` is ln(high / mid) for a student about which nothing is left to learn from further samples; for
    features x and a prediction m it is `half_width` times the root of 1 + |x `root` / m|².
    `coverage` is the share of further students that the interval is expected to hold, if they resemble the samples;
    `outliers` are the samples that were set aside. Shapes: `root` has a row for each of `prices`, all of one length.
    """

    prices: Mapping[str, float]
    half_width: float
    coverage: float
    samples: int
    outliers: tuple[str, ...] = ()
    root: tuple[tuple[float, ...], ...] = ()

    def predict(self, features: Mapping[str, float]) -> Interval:
        """The interval for something of these features. Errors: MeasureError when a feature of the fit is missing."""
        try:
            row = [1.0 if term == ONE else float(features[term]) for term in self.prices]
        except KeyError as missing:
            raise MeasureError(f"the fit needs the feature {missing}, found {listing(features)}") from None
        mid = sum(price * value for price, value in zip(self.prices.values(), row, strict=True))
        if mid <= 0:
            return Interval(0.0, 0.0, math.inf)
        squares = (sum(map(float.__mul__, row, column)) ** 2 for column in zip(*self.root, strict=True))
        width = self.half_width * math.sqrt(1 + sum(squares) / mid**2)
        factor = math.exp(min(width, LARGEST_HALF_WIDTH))
        return Interval(mid / factor, mid, mid * factor)

    def predict_many(self, columns: Mapping[str, NDArray[np.float64]]) -> Intervals:
        """What `predict` gives for every student, from the columns of their features; a million take a blink.

        Shapes: each column holds one number per student. Errors: MeasureError when a feature of the fit is missing or
        the columns differ in length; MissingExtra without numpy.
        """
        np = _numpy()
        terms = [term for term in self.prices if term != ONE]
        missing = set(terms) - set(columns)
        if missing:
            raise MeasureError(f"the fit needs the feature {listing(missing)}, found {listing(columns)}")
        lengths = {len(columns[term]) for term in terms or columns}
        if len(lengths) != 1:
            raise MeasureError(f"columns of {sorted(lengths)} students, expected one length of all")
        (count,) = lengths
        factors = np.vstack([list(self.prices.values()), np.array(self.root).reshape(len(self.prices), -1).T])
        low, mid, high = np.empty((3, count))
        block = np.ones((len(self.prices), min(CHUNK, count)))
        for start in range(0, count, CHUNK):
            part = slice(start, min(start + CHUNK, count))
            rows = block[:, : part.stop - start]
            for row, term in zip(rows, self.prices, strict=True):
                if term != ONE:
                    row[:] = columns[term][part]
            low[part], mid[part], high[part] = self._bounds(np, factors @ rows)
        return Intervals(low, mid, high)

    def _bounds(self, np: Any, products: NDArray[np.float64]) -> tuple[Any, Any, Any]:
        """Low, mid and high from the predictions, the first row of `products`, and the parts of their leverage."""
        mid, parts = products[0], products[1:]
        known = mid > 0
        safe = np.where(known, mid, 1.0)
        width = np.einsum("ij,ij->j", parts, parts)
        width /= safe
        width /= safe
        width += 1
        np.sqrt(width, out=width)
        width *= self.half_width
        np.minimum(width, LARGEST_HALF_WIDTH, out=width)
        np.exp(width, out=width)
        return np.where(known, mid / width, 0.0), np.where(known, mid, 0.0), np.where(known, mid * width, math.inf)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "version": VERSION,
            "prices": dict(self.prices),
            "half_width": self.half_width,
            "coverage": self.coverage,
            "samples": self.samples,
            "outliers": list(self.outliers),
            # JSON files sort their keys, and the rows of the root belong to the terms in this order.
            "terms": list(self.prices),
            "root": [list(row) for row in self.root],
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Fit:
        """The fit in `table`. Errors: RecordError for missing, unknown or impossible values, or another version."""
        wanted = {"version", "prices", "half_width", "coverage", "samples", "outliers", "terms", "root"}
        if set(table) != wanted:
            raise RecordError(f"found a fit with {listing(table) or 'nothing'}, expected {listing(wanted)}")
        if table["version"] != VERSION or isinstance(table["version"], bool):
            raise RecordError(f"the fit has version {table['version']!r}, this edgekd reads {VERSION}. Make it again")
        prices, outliers = table["prices"], table["outliers"]
        if not isinstance(prices, Mapping) or not prices or not all(_is_amount(price) for price in prices.values()):
            raise RecordError("the prices of a fit must be a table of numbers that are not negative")
        terms = table["terms"]
        if not isinstance(terms, list) or sorted(map(str, terms)) != sorted(map(str, prices)):
            raise RecordError("the terms of a fit must be a list of those that have prices")
        if not isinstance(outliers, list) or not all(isinstance(name, str) for name in outliers):
            raise RecordError("the outliers of a fit must be a list of names")
        for key, most in (("half_width", math.inf), ("coverage", 1), ("samples", math.inf)):
            if not _is_amount(table[key]) or table[key] > most:
                raise RecordError(f"{key} of a fit is {table[key]!r}, expected a number from 0 to {most}")
        return cls(
            {term: float(prices[term]) for term in terms},
            float(table["half_width"]),
            float(table["coverage"]),
            int(table["samples"]),
            tuple(outliers),
            _root(table["root"], len(prices)),
        )


def fit(samples: Sequence[Sample], terms: Sequence[str], backbone: Backbone | None = None) -> Fit:
    """The fit of `samples` by `terms`, names of features, `ONE` for a constant; more terms than samples do no harm.

    `backbone` holds sums of terms that should tell most by themselves, each as a table of weights, the most important
    first; without it these are the first two terms. Departures from it must be earned by the samples.
    Errors: MeasureError for fewer than 3 samples, for values that are no positive numbers, for missing features;
    MissingExtra without numpy.
    """
    wanted, sums = checked(samples, terms, backbone)
    _numpy()
    from edgekd.cost.fitting import learnt

    rows = [[1.0 if term == ONE else float(sample.features[term]) for term in wanted] for sample in samples]
    weights = [[part.get(term, 0.0) for part in sums] for term in wanted]
    found = learnt(rows, [sample.value for sample in samples], weights, [sample.confirmed for sample in samples])
    kept = [sample for sample, aside in zip(samples, found.aside, strict=True) if not aside]
    noise = sorted(sample.spread for sample in kept)[len(kept) // 2] / math.sqrt(len(kept))
    width, coverage = _quantile(found.sizes, found.freedom, len(samples))
    return Fit(
        dict(zip(wanted, found.prices, strict=True)),
        max(width, noise, SMALLEST_HALF_WIDTH),
        coverage,
        len(kept),
        tuple(sample.name for sample, aside in zip(samples, found.aside, strict=True) if aside),
        found.root,
    )


def _numpy() -> Any:
    try:
        import numpy as np
    except ModuleNotFoundError:
        raise MissingExtra("numpy", "bench") from None
    return np


def checked(
    samples: Sequence[Sample], terms: Sequence[str], backbone: Backbone | None
) -> tuple[Terms, list[dict[str, float]]]:
    """The terms without repetition and the backbone in full. Errors: those of `fit`."""
    wanted = tuple(dict.fromkeys(terms))
    sums = [{term: 1.0} for term in wanted[:2]] if backbone is None else [dict(part) for part in backbone]
    unknown = {term for part in sums for term in part} - set(wanted)
    if not wanted or not sums or unknown or not all(any(weight > 0 for weight in part.values()) for part in sums):
        raise ValueError(f"terms {listing(wanted)}: each part of the backbone must weigh some of them, and no others")
    if len(samples) < LEAST_SAMPLES:
        raise MeasureError(f"a fit needs {LEAST_SAMPLES} measured students, found {len(samples)}. Measure more of them")
    needed = set(wanted) - {ONE}
    for sample in samples:
        _check(sample, needed)
    return wanted, sums


def _check(sample: Sample, needed: set[str]) -> None:
    if not (math.isfinite(sample.value) and sample.value > 0):
        raise MeasureError(f"{sample.name}: measured {sample.value!r}, expected a positive number. Measure again")
    missing = needed - set(sample.features)
    if missing:
        raise MeasureError(f"{sample.name}: lacks the feature {listing(missing)}, found {listing(sample.features)}")
    impossible = [term for term in needed if not _is_amount(sample.features[term])]
    if impossible:
        raise MeasureError(f"{sample.name}: {listing(impossible)} must be numbers that are not negative")


def _is_amount(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str | bytes) and math.isfinite(value) and value >= 0
    except TypeError:
        return False


def _quantile(sizes: Sequence[float], freedom: float, samples: int) -> tuple[float, float]:
    """The left-out error that covers `COVERAGE` of further students, and the share that so few of them can promise.

    The k-th smallest of n covers k / (n + 1), and the largest is the most that n errors can tell. What was set aside of
    all `samples` counts as an error beyond all others. But prices that took nearly all samples to find leave errors
    that say the same over and again: hence the ratio of Student's quantiles.
    """
    ordered, count = sorted(sizes), len(sizes)
    place = min(COVERAGE * (samples + 1), count)
    below = math.floor(place)
    above = min(below, count - 1)
    value = ordered[below - 1] + (place - below) * (ordered[above] - ordered[below - 1])
    one_sided = (1 + COVERAGE) / 2
    ratio = student_t_quantile(one_sided, max(1.0, freedom)) / student_t_quantile(one_sided, count)
    return value * max(1.0, ratio), min(COVERAGE, count / (count + 1))


def _root(value: Any, terms: int) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise RecordError("the root of a fit must be a list of lists")
    if (value and len(value) != terms) or len({len(row) for row in value}) > 1:
        raise RecordError(f"the root of a fit must hold {terms} lists of one length")
    if not all(isinstance(entry, int | float) and _is_amount(abs(entry)) for row in value for entry in row):
        raise RecordError("the root of a fit must hold finite numbers")
    return tuple(tuple(map(float, row)) for row in value)
