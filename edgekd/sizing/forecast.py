"""What unmeasured students should cost, corrected by those that were measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from edgekd.cost.calibrate import LEAST_SAMPLES, ONE, Backbone, Fit, Intervals, Sample, Terms, fit
from edgekd.cost.carry import rescaled
from edgekd.cost.energy import energies_of, energy_by_budget, energy_features, energy_fit, power_budget_w
from edgekd.cost.tails import TAILS, has_tails
from edgekd.cost.terms import BACKBONE, TERMS, priceable
from edgekd.errors import MeasureError
from edgekd.sizing.limits import Costs
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.table import Ends, Table
from edgekd.student import Candidate

LATENCY_TERMS: Terms = (ONE, *TERMS)
# With as many students of its own as a calibration has, a search no longer needs one that was made before: our choice.
ENOUGH = 15
# The first two tell most by themselves; the others must be earned by the measurements (see edgekd/cost/fitting.py).
MEMORY_TERMS: Terms = (ONE, "weight_bytes", "peak_activation_bytes")
SIZE_TERMS: Terms = (ONE, "weight_bytes", "layers")


@dataclass(frozen=True, slots=True)
class Measurement:
    """An untrained candidate on the host: the median latency with its confidence bounds, and the peak of its memory.

    `spread` is the relative deviation of single inferences from the median; `size_bytes` that of the exported file.
    `energy_j` is of one inference and the whole board, with its bounds, from the `rail`; None where no rail told.
    Errors: MeasureError for numbers that cannot be.
    """

    latency_s: float
    spread: float
    low_s: float
    high_s: float
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None
    energy_j: float | None = None
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    rail: str | None = None

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
        ends = self.energy
        if ends is not None and not 0 < ends[0] <= ends[1] <= ends[2] < math.inf:
            raise MeasureError(f"an energy of {ends[1]!r} J within {ends[0]!r} to {ends[2]!r} cannot be")

    @property
    def energy(self) -> tuple[float, float, float] | None:
        """The energy from its lower to its upper bound; None unless all three are known."""
        if self.energy_j is None or self.energy_low_j is None or self.energy_high_j is None:
            return None
        return self.energy_low_j, self.energy_j, self.energy_high_j


@dataclass(frozen=True, slots=True)
class Fits:
    """The fits of one precision; None where fewer than 3 students were measured."""

    latency: Fit | None = None
    memory: Fit | None = None
    size: Fit | None = None
    energy: Fit | None = None


End = Literal["low", "mid", "high"]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What every student of a table should take in one precision; `latency` is that of the median, in seconds.

    `energy` is in joules for an inference; None where neither rails nor a power budget tell.
    """

    latency: Ends
    memory: Ends
    size: Ends
    energy: Ends | None = None

    def costs(self, row: int, end: End, spread: float) -> Costs:
        """The `end` of each interval of the student at `row`."""
        latency_s, memory_bytes, size_bytes = (
            float(getattr(ends, end)[row]) for ends in (self.latency, self.memory, self.size)
        )
        energy_j = math.nan if self.energy is None else float(getattr(self.energy, end)[row])
        return Costs(_known(latency_s), memory_bytes, size_bytes, spread, energy_j=_known(energy_j))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def fitted(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precisions: Sequence[str],
    confirmed: Collection[str] = (),
    known: Mapping[str, Fits] | None = None,
) -> dict[str, Fits]:
    """The fits by precision. `measurements` are by candidate name; candidates that are not among them are passed over.

    Each precision has prices of its own: int8 kernels are other code than fp32 ones. Candidates in `confirmed` were
    measured again and are never set aside. `known` are fits of the same board, made before: what is measured now
    rescales their latency, until it is enough for a fit of its own.
    """
    return {
        precision: _carried(
            _fits(students, measurements, precision, confirmed),
            (known or {}).get(precision),
            _samples(students, measurements, precision, confirmed),
            _energies(students, measurements, precision, confirmed),
        )
        for precision in precisions
    }


def _carried(own: Fits, known: Fits | None, samples: Sequence[Sample], energies: Sequence[Sample]) -> Fits:
    if known is None or known.latency is None or len(samples) >= ENOUGH:
        return own
    latency = rescaled(known.latency, samples) if samples else known.latency
    energy = rescaled(known.energy, energies) if known.energy and energies else own.energy or known.energy
    return Fits(latency, own.memory or known.memory, own.size, energy)


def forecasts(table: Table, fits: Mapping[str, Fits]) -> dict[str, Forecasts]:
    """The forecasts of every student of `table`, by precision."""
    return {precision: _forecasts(table, precision, fits[precision]) for precision in table.precisions}


def usual_spread(measurements: Mapping[str, Measurement]) -> float:
    """The median spread of the measurements, 0 without any."""
    return median(found.spread for found in measurements.values()) if measurements else 0.0


def measured_costs(found: Measurement, forecast: Costs, compare: str) -> Costs:
    """What was measured, of latency and energy the upper end unless the `middle` is compared; else the forecast."""
    energy = found.energy
    return Costs(
        found.latency_s if compare == "middle" else found.high_s,
        forecast.memory_bytes if found.peak_memory_bytes is None else found.peak_memory_bytes,
        forecast.size_bytes if found.size_bytes is None else found.size_bytes,
        forecast.spread,
        energy_j=forecast.energy_j if energy is None else energy[1 if compare == "middle" else 2],
    )


def _fits(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precision: str,
    confirmed: Collection[str],
) -> Fits:
    latency, memory, size = _samples(students, measurements, precision, confirmed), list[Sample](), list[Sample]()
    energies = _energies(students, measurements, precision, confirmed)
    for student in students:
        name = Candidate(student.spec, precision, student.sequence).name
        found = measurements.get(name)
        if found is None:
            continue
        features = student.features[precision]
        if found.peak_memory_bytes is not None:
            memory.append(Sample(name, features, found.peak_memory_bytes))
        if found.size_bytes is not None:
            size.append(Sample(name, features, found.size_bytes))
    terms = (*LATENCY_TERMS, TAILS) if has_tails(precision) else LATENCY_TERMS
    return Fits(
        _fit_or_none(latency, priceable(terms, (sample.features for sample in latency)), BACKBONE),
        _fit_or_none(memory, MEMORY_TERMS),
        _fit_or_none(size, SIZE_TERMS),
        energy_fit(energies) if len(energies) >= LEAST_SAMPLES else None,
    )


def _samples(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precision: str,
    confirmed: Collection[str],
) -> list[Sample]:
    """The latencies that were measured in `precision`."""
    samples = []
    for student in students:
        name = Candidate(student.spec, precision, student.sequence).name
        found = measurements.get(name)
        if found is not None:
            half_width = math.log(found.high_s / found.low_s) / 2
            samples.append(Sample(name, student.features[precision], found.latency_s, half_width, name in confirmed))
    return samples


def _energies(
    students: Sequence[PricedStudent],
    measurements: Mapping[str, Measurement],
    precision: str,
    confirmed: Collection[str],
) -> list[Sample]:
    """The energies that rails told in `precision`."""
    samples = []
    for student in students:
        name = Candidate(student.spec, precision, student.sequence).name
        found = measurements.get(name)
        if found is not None and found.energy is not None:
            low_j, energy_j, high_j = found.energy
            features = energy_features(student.features[precision], found.latency_s)
            samples.append(Sample(name, features, energy_j, math.log(high_j / low_j) / 2, name in confirmed))
    return samples


def energy_ends(table: Table, precision: str, energy: Fit | None, latency: Ends) -> Ends | None:
    """What every student should take of that `latency`: by the fit, else by the profile's power budget, else None."""
    if energy is not None:
        found = energies_of(energy, table.features(precision), Intervals(latency.low, latency.mid, latency.high))
        return Ends(found.low, found.mid, found.high)
    budget_w = power_budget_w(table.pricing.profile)
    return None if budget_w is None else Ends(*energy_by_budget(budget_w, latency.low, latency.mid, latency.high))


def _fit_or_none(samples: list[Sample], terms: Terms, backbone: Backbone | None = None) -> Fit | None:
    return fit(samples, terms, backbone) if len(samples) >= LEAST_SAMPLES else None


def _forecasts(table: Table, precision: str, fits: Fits) -> Forecasts:
    features = table.features(precision)

    def predicted(fit: Fit | None, otherwise: Callable[[], Ends]) -> Ends:
        if fit is None:
            return otherwise()
        found = fit.predict_many(features)
        return Ends(found.low, found.mid, found.high)

    def roofline() -> Ends:
        found = table.roofline(precision)
        return Ends(*[np.full(len(table), np.nan)] * 3) if isinstance(found, str) else found[0]

    def memory() -> Ends:
        # Weights and activations must be there; a runtime may hold the weights twice while it opens the file.
        weights, usual = table.counts.weight_bytes[precision], table.memory_bytes(precision)
        activations = table.counts.peak_activation_bytes[precision]
        return Ends(weights + activations, usual, usual + weights)

    def size() -> Ends:
        return Ends(*[table.counts.weight_bytes[precision]] * 3)

    latency = predicted(fits.latency, roofline)
    return Forecasts(
        latency,
        predicted(fits.memory, memory),
        predicted(fits.size, size),
        energy_ends(table, precision, fits.energy, latency),
    )
