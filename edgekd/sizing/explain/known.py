"""What the files of a sizing tell of students: what each takes, predicted or measured, and which limits it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from edgekd.cost.calibrate import Fit, Interval
from edgekd.cost.count import count, parameters
from edgekd.cost.energy import energy_by_budget, energy_features, energy_of, power_budget_w
from edgekd.cost.operators import operators
from edgekd.cost.predict import Prediction, predict, predict_memory
from edgekd.cost.trace import Operator
from edgekd.device import DeviceProfile
from edgekd.sizing.explain.attribution import Parts, features_of, parts_of
from edgekd.sizing.forecast import Fits, Measurement, usual_spread
from edgekd.sizing.limits import Limit
from edgekd.sizing.price import vocabulary_parameters
from edgekd.student import StudentSpec

# Of a limit: the whole interval keeps it; its middle does; its middle does not; none of it does; nothing is known.
Level = Literal["kept", "likely", "unlikely", "missed", "unknown"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A student, or the teacher, at a length of input. `capacity` is its parameters outside the embeddings."""

    name: str
    spec: StudentSpec
    sequence: int
    parameters: int
    capacity: int


def placed(spec: StudentSpec, sequence: int, name: str = "") -> Placed:
    """`spec` at `sequence` tokens per input, under its own name unless another is given. Errors: SpecError."""
    whole = parameters(spec)
    return Placed(name or spec.name, spec, spec.tokens or sequence, whole, whole - vocabulary_parameters(spec))


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and where it lies; `measured` when somebody looked."""

    low: float
    mid: float
    high: float
    measured: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; None for an end that nothing is known about."""
        ends = {"low": self.low, "mid": self.mid, "high": self.high}
        return {**{name: finite(value) for name, value in ends.items()}, "measured": self.measured}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a student takes in one precision.

    `latency` (seconds, median) and `energy` (joules of an inference) are None when nothing is known about them.
    """

    latency: Figure | None
    memory: Figure
    size: Figure
    energy: Figure | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "latency_s": self.latency.to_dict() if self.latency else None,
            "memory_bytes": self.memory.to_dict(),
            "size_bytes": self.size.to_dict(),
            "energy_j": self.energy.to_dict() if self.energy else None,
        }


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass of a student in one precision: its operators, what the fits take as given, the roofline."""

    trace: list[Operator]
    parts: Parts
    features: Mapping[str, float]
    roofline: Prediction


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of the students of a space, from files alone.

    `chosen` and `nearest` are names of students; one of them is None. `fitting` are the precisions in which the chosen
    one keeps every limit. `forecasts` and `measurements` are by candidate name; a forecast is what `predicted` gives,
    kept where the sizing stored it, because a space may be large. `ffn_follows` says that the space gives ffn as
    multiples of hidden. `notes` are for the reader; `trials` say of students how a short distillation went.
    """

    teacher: Placed
    profile: DeviceProfile
    precisions: Sequence[str]
    batch: int
    threads: int
    students: Mapping[str, Placed]
    limits: Sequence[Limit]
    fits: Mapping[str, Fits]
    forecasts: Mapping[str, Outlook]
    measurements: Mapping[str, Measurement]
    chosen: str | None
    fitting: Sequence[str]
    nearest: str | None
    ffn_follows: bool
    notes: Sequence[str] = ()
    trials: Mapping[str, str] = field(default_factory=dict)

    def trials_of(self, names: Sequence[str]) -> list[str]:
        """What there is to say of the trials of those students."""
        return [f"{name}: {self.trials[name]}" for name in dict.fromkeys(names) if name in self.trials]

    def fits_of(self, precision: str) -> Fits:
        """The fits of `precision`, empty where nothing was measured."""
        return self.fits.get(precision, Fits())

    def pass_of(self, student: Placed, precision: str) -> Pass:
        """The forward pass of `student`. Errors: SpecError for an input that it cannot take."""
        trace = operators(student.spec, batch=self.batch, sequence=student.sequence)
        parts = parts_of(student.spec, trace, precision)
        counts = count(student.spec, batch=self.batch, sequence=student.sequence, precision=precision)
        roofline = predict(counts, self.profile, precision=precision, threads=self.threads)
        return Pass(trace, parts, features_of(parts), roofline)

    def predicted(self, student: Placed, precision: str) -> Outlook:
        """What `student` should take, by the fits where there are some. Errors: SpecError, MeasureError."""
        found = self.pass_of(student, precision)
        fits, features = self.fits_of(precision), found.features
        weights, activations = (features[name] for name in ("weight_bytes", "peak_activation_bytes"))
        counts = count(student.spec, batch=self.batch, sequence=student.sequence, precision=precision)
        usual = float(predict_memory(counts))
        # Weights and activations must be there; a runtime may hold the weights twice while it opens the file.
        memory = Figure(weights + activations, usual, usual + weights)
        latency = _by_fit(fits.latency, features) or _by_roofline(found.roofline)
        return Outlook(
            latency,
            _by_fit(fits.memory, features) or memory,
            _by_fit(fits.size, features) or Figure(weights, weights, weights),
            None if latency is None else self._energy(fits.energy, features, latency),
        )

    def _energy(self, fit: Fit | None, features: Mapping[str, float], latency: Figure) -> Figure | None:
        if fit is not None:
            found = energy_of(fit, features, Interval(latency.low, latency.mid, latency.high))
            return Figure(found.low, found.mid, found.high)
        budget_w = power_budget_w(self.profile)
        if budget_w is None:
            return None
        return Figure(*energy_by_budget(budget_w, latency.low, latency.mid, latency.high))

    def energy_parts(self, student: Placed, precision: str) -> dict[str, float]:
        """Joules of the predicted energy by the term that causes them; empty without a fit. Errors: as predicted."""
        fit, latency = self.fits_of(precision).energy, self.predicted(student, precision).latency
        if fit is None or latency is None:
            return {}
        features = energy_features(self.pass_of(student, precision).features, latency.mid)
        return {term: price * features[term] for term, price in fit.prices.items()}

    def best_known(self, student: Placed, precision: str) -> Outlook:
        """What `student` took where it was measured, else what it should take. Errors: SpecError, MeasureError."""
        return self._with_measured(student, precision, self.predicted(student, precision))

    def _with_measured(self, student: Placed, precision: str, expected: Outlook) -> Outlook:
        found = self.measurements.get(f"{student.name}-{precision}")
        if found is None:
            return expected
        peak, size = found.peak_memory_bytes, found.size_bytes
        return Outlook(
            Figure(found.low_s, found.latency_s, found.high_s, measured=True),
            expected.memory if peak is None else Figure(peak, peak, peak, measured=True),
            expected.size if size is None else Figure(size, size, size, measured=True),
            expected.energy if found.energy is None else Figure(*found.energy, measured=True),
        )

    def levels(self, outlook: Outlook) -> dict[str, Level]:
        """How `outlook` stands to each limit, by the limit's name; a latency at the limit's percentile."""
        figures = {
            "latency_s": outlook.latency,
            "memory_bytes": outlook.memory,
            "size_bytes": outlook.size,
            "energy_j": outlook.energy,
        }
        return {limit.name: _level(limit, figures[limit.quantity], self.spread) for limit in self.limits}

    @cached_property
    def spread(self) -> float:
        """The relative deviation of single inferences from their median that must be expected."""
        return usual_spread(self.measurements)

    @cached_property
    def by_capacity(self) -> list[Placed]:
        """All students of the space, the most capable last."""
        return sorted(self.students.values(), key=lambda item: (item.capacity, item.spec.layers, item.name))

    @cached_property
    def feasible(self) -> list[Placed]:
        """The students that keep every limit for sure in some precision, the most capable last."""
        return [student for student in self.by_capacity if self.keeps_all(student)]

    def keeps_all(self, student: Placed) -> list[str]:
        """The precisions in which `student` keeps every limit for sure, as far as is known."""
        kept = []
        for precision in self.precisions:
            expected = self.forecasts.get(f"{student.name}-{precision}") or self.predicted(student, precision)
            outlook = self._with_measured(student, precision, expected)
            if set(self.levels(outlook).values()) <= {"kept"}:
                kept.append(precision)
        return kept


def _level(limit: Limit, figure: Figure | None, spread: float) -> Level:
    if figure is None:
        return "unknown"
    low, mid, high = (limit.scaled(value, spread) for value in (figure.low, figure.mid, figure.high))
    if mid <= limit.value:
        return "kept" if high <= limit.value else "likely"
    return "missed" if low > limit.value else "unlikely"


def _by_fit(fit: Fit | None, features: Mapping[str, float]) -> Figure | None:
    if fit is None:
        return None
    found: Interval = fit.predict(features)
    return Figure(found.low, found.mid, found.high)


def _by_roofline(found: Prediction) -> Figure | None:
    if found.low_s is None or found.mid_s is None or found.high_s is None:
        return None
    return Figure(found.low_s, found.mid_s, found.high_s)


def finite(value: float) -> float | None:
    """`value` where JSON knows it, else None."""
    return value if math.isfinite(value) else None
