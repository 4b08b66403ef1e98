"""What unmeasured students should cost, corrected by those that were measured."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from edgekd.cost.calibrate import LEAST_SAMPLES, ONE, Fit, Interval, Sample, Terms, fit
from edgekd.errors import MeasureError
from edgekd.sizing.limits import Costs
from edgekd.sizing.price import Price, PricedStudent
from edgekd.student import Candidate

# The first two tell most by themselves; the others must be earned by the measurements (see edgekd/cost/fitting.py).
LATENCY_TERMS: Terms = (ONE, "macs", "layers", "activation_bytes", "weight_bytes")
MEMORY_TERMS: Terms = (ONE, "weight_bytes", "peak_activation_bytes")
SIZE_TERMS: Terms = (ONE, "weight_bytes", "layers")


@dataclass(frozen=True, slots=True)
class Measurement:
    """An untrained candidate on the host: the median latency with its confidence bounds, and the peak of its memory.

    `spread` is the relative deviation of single inferences from the median; `size_bytes` that of the exported file.
    Errors: MeasureError for numbers that cannot be.
    """

    latency_s: float
    spread: float
    low_s: float
    high_s: float
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        ordered = 0 < self.low_s <= self.latency_s <= self.high_s < math.inf
        if not ordered or not 0 <= self.spread < math.inf:
            raise MeasureError(
                f"a latency of {self.latency_s!r} s within {self.low_s!r} to {self.high_s!r}, spread {self.spread!r}, "
                "cannot be; expected 0 < low <= latency <= high and spread >= 0"
            )
        for name in ("peak_memory_bytes", "size_bytes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise MeasureError(f"{name} is {value!r}, expected a positive number or None")


@dataclass(frozen=True, slots=True)
class Fits:
    """The fits of one precision; None where fewer than 3 students were measured."""

    latency: Fit | None = None
    memory: Fit | None = None
    size: Fit | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a candidate should take. `latency` (seconds, median) is None when nothing is known about it."""

    latency: Interval | None
    memory: Interval
    size: Interval

    def costs(self, end: str, spread: float) -> Costs:
        """The 'low', 'mid' or 'high' end of each interval."""
        latency = None if self.latency is None else getattr(self.latency, end)
        return Costs(latency, getattr(self.memory, end), getattr(self.size, end), spread)


def fitted(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precisions: Sequence[str],
    confirmed: Collection[str] = (),
) -> dict[str, Fits]:
    """The fits by precision. `measurements` are by candidate name; candidates that are not among them are passed over.

    Each precision has prices of its own: int8 kernels are other code than fp32 ones. Candidates in `confirmed` were
    measured again and are never set aside.
    """
    return {precision: _fits(students, measurements, precision, confirmed) for precision in precisions}


def forecasts(students: Sequence[PricedStudent], fits: Mapping[str, Fits]) -> dict[str, Forecast]:
    """The forecast of every student in every precision, by candidate name."""
    return {
        f"{student.name}-{precision}": _forecast(price, student.features[precision], fits[precision])
        for student in students
        for precision, price in student.prices.items()
    }


def usual_spread(measurements: Mapping[str, Measurement]) -> float:
    """The median spread of the measurements, 0 without any."""
    return median(found.spread for found in measurements.values()) if measurements else 0.0


def measured_costs(found: Measurement, forecast: Forecast, spread: float) -> Costs:
    """The upper ends of what was measured; the forecast for what was not."""
    return Costs(
        found.high_s,
        forecast.memory.high if found.peak_memory_bytes is None else found.peak_memory_bytes,
        forecast.size.high if found.size_bytes is None else found.size_bytes,
        spread,
    )


def _fits(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precision: str,
    confirmed: Collection[str],
) -> Fits:
    latency, memory, size = list[Sample](), list[Sample](), list[Sample]()
    for student in students:
        name = Candidate(student.spec, precision).name
        found = measurements.get(name)
        if found is None:
            continue
        features = student.features[precision]
        half_width = math.log(found.high_s / found.low_s) / 2
        latency.append(Sample(name, features, found.latency_s, half_width, name in confirmed))
        if found.peak_memory_bytes is not None:
            memory.append(Sample(name, features, found.peak_memory_bytes))
        if found.size_bytes is not None:
            size.append(Sample(name, features, found.size_bytes))
    return Fits(
        _fit_or_none(latency, LATENCY_TERMS), _fit_or_none(memory, MEMORY_TERMS), _fit_or_none(size, SIZE_TERMS)
    )


def _fit_or_none(samples: list[Sample], terms: Terms) -> Fit | None:
    return fit(samples, terms) if len(samples) >= LEAST_SAMPLES else None


def _forecast(price: Price, features: Mapping[str, float], fits: Fits) -> Forecast:
    return Forecast(
        _roofline(price) if fits.latency is None else fits.latency.predict(features),
        _memory(price) if fits.memory is None else fits.memory.predict(features),
        _size(price) if fits.size is None else fits.size.predict(features),
    )


def _roofline(price: Price) -> Interval | None:
    found = price.roofline
    if found.low_s is None or found.mid_s is None or found.high_s is None:
        return None
    return Interval(found.low_s, found.mid_s, found.high_s)


def _memory(price: Price) -> Interval:
    # Weights and activations must be there; a runtime may hold the weights twice while it opens the file.
    weights, activations = price.counts.weight_bytes, price.counts.peak_activation_bytes
    return Interval(weights + activations, price.memory_bytes, price.memory_bytes + weights)


def _size(price: Price) -> Interval:
    weights = float(price.counts.weight_bytes)
    return Interval(weights, weights, weights)
