"""What students are expected to take, and what no student of a box can take less than."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgekd.cost.calibrate import Fit
from edgekd.cost.columns import Whole
from edgekd.cost.count import BLOCK
from edgekd.cost.energy import energy_features
from edgekd.cost.tails import TAILS, has_tails
from edgekd.cost.terms import AGED, SWEPT
from edgekd.sizing.boxes import NONE, Bound, Corners, Score
from edgekd.sizing.choice import worst_ratios
from edgekd.sizing.forecast import End, Forecasts, energy_ends, forecasts, usual_spread
from edgekd.sizing.least import with_tails
from edgekd.sizing.limits import Limit
from edgekd.sizing.measuring import Known
from edgekd.sizing.table import Ends, Mask, Numbers, Table, table_of_specs

MOST_CAPACITY = 2.0**41  # parameters; with 4096 lengths of input a float still tells any two apart


@dataclass(frozen=True, eq=False)
class Bounds:
    """The bounds and scores of searches, for what is `known`.

    What was measured is known anyway, and may be off its prediction: searches pass it over. `sequences` are the lengths
    of input in the space, ascending.
    """

    known: Known
    sequences: Sequence[int]

    @cached_property
    def spread(self) -> float:
        """The spread to expect of any student."""
        return usual_spread(self.known.measurements)

    @property
    def end(self) -> End:
        """The end of an interval that must keep a limit."""
        return "high" if self.known.compare == "upper" else "mid"

    def unmeasured(self, table: Table) -> Mask:
        """The students of which nothing was measured."""
        found = np.ones(len(table), np.bool_)
        for student in self.known.measured:
            own = table.specs.where(student.spec)
            found &= ~(own & (table.sequence == student.sequence) if student.sequence else own)
        return found

    def middles(self, table: Table) -> list[tuple[Numbers, Numbers]]:
        """The middles of latency and memory in each precision; they grow with every dimension but for TAILS."""
        found = forecasts(table, self.known.fits)
        return [(each.latency.mid, each.memory.mid.astype(np.float64)) for each in found.values()]

    def most_capable(self, most: float = 1.0) -> tuple[Bound, Score]:
        """The length of input and then the capacity, for students that take at most `most` of each limit."""

        def bound(corners: Corners) -> Numbers:
            kept = np.fmin.reduce(self.least(corners.first, self.known.limits, self.end)) <= most
            return np.where(kept, self._capability(self._with_possible_ffn(corners, most)), NONE)

        def score(table: Table) -> Numbers:
            kept = self._ratios(table, self.known.limits, self.end) <= most
            return np.where(kept & self.unmeasured(table), self._capability(table), NONE)

        return bound, score

    def nearest(self, limits: Sequence[Limit], end: End) -> tuple[Bound, Score]:
        """How little is taken of the limit that is taken most."""

        def bound(corners: Corners) -> Numbers:
            return _negative(np.fmin.reduce(self.least(corners.first, limits, end)))

        def score(table: Table) -> Numbers:
            return np.where(self.unmeasured(table), _negative(self._ratios(table, limits, end)), NONE)

        return bound, score

    def _capability(self, table: Table) -> Numbers:
        rank = np.searchsorted(self.sequences, table.sequence)
        return np.asarray(rank * MOST_CAPACITY + table.capacity, np.float64)

    def _ratios(self, table: Table, limits: Sequence[Limit], end: End) -> Numbers:
        found = forecasts(table, self.known.fits)
        best: Numbers = np.fmin.reduce(self._worst(found, limits, end))
        return best

    def _with_possible_ffn(self, corners: Corners, most: float) -> Table:
        """The last corners, with no larger ffn than keeps the limits at the first corner.

        What a student takes is a sum and a maximum of straight lines in ffn, where it is `straight`. Then the line
        through two neighbouring values is nowhere above it, and where it crosses a limit the student is over it, too.
        Elsewhere the line is a guess, and counts where the next ffn is over a limit indeed, for then all larger ones
        are.
        """
        first, last = corners.first, corners.last
        step = BLOCK if any(map(has_tails, first.precisions)) else 1
        largest, before = last.specs.ffn, np.maximum(last.specs.ffn - step, first.specs.ffn)
        if not self.known.limits or not (before < largest).any():
            return last
        high, low = (self._least_at(first, ffn) for ffn in (largest, before))
        slopes = (np.array(high) - np.array(low)) / np.maximum(largest - before, 1)
        over = np.array(high) - most
        with np.errstate(divide="ignore", invalid="ignore"):
            # A little more than the crossing, for numbers are rounded.
            steps = np.where((over > 0) & (slopes > 0), over / slopes * (1 - 1e-9) - 1e-6, 0.0)
        possible = largest - np.floor(np.maximum(steps.min(axis=0), 0.0)).astype(np.int64)
        possible = np.clip(possible, first.specs.ffn, largest)
        if not self.straight:
            beyond = np.fmin.reduce(self._least_at(first, np.minimum(possible + 1, largest)))
            possible = np.where(beyond > most, possible, largest)
        return _at_ffn(last, possible)

    @cached_property
    def straight(self) -> bool:
        """Whether what students take is a sum and a maximum of straight lines in ffn.

        Weights of 4 bits come in whole blocks, and a cache that is swept through or left for long loses all it kept.
        """
        fits = [each.latency for each in self.known.fits.values() if each.latency is not None]
        lost = any(each.prices.get(name) for each in fits for name in (*SWEPT, *AGED))
        return not lost and not any(map(has_tails, self.known.fits))

    def _least_at(self, first: Table, ffn: Whole) -> list[Numbers]:
        """What no student of a box with that `first` corner is below from `ffn` on, in each precision."""
        found = _at_ffn(first, ffn)
        if TAILS in first.counts.terms:
            # The least in a box is the least at each ffn.
            found = with_tails(found, first.counts.terms[TAILS])
        return self.least(found, self.known.limits, self.end)

    def least(self, table: Table, limits: Sequence[Limit], end: End) -> list[Numbers]:
        """What no larger student can be below, in each precision."""
        found = forecasts(table, self.known.fits)
        fits = self.known.fits
        floors = {}
        for name, each in found.items():
            latency = _floor(fits[name].latency, each.latency)
            floors[name] = Forecasts(
                latency,
                _floor(fits[name].memory, each.memory),
                _floor(fits[name].size, each.size),
                _energy_floor(table, name, fits[name].energy, latency, each.energy),
            )
        return self._worst(floors, limits, end)

    def _worst(self, found: Mapping[str, Forecasts], limits: Sequence[Limit], end: End) -> list[Numbers]:
        factors = self.known.learned.factors
        return [worst_ratios(each, limits, end, self.spread, factors.get(name)) for name, each in found.items()]


def _floor(fit: Fit | None, ends: Ends) -> Ends:
    # An interval is never narrower than the half width of its fit, and the middle grows with every dimension: tails
    # are the least already.
    return ends if fit is None else Ends(ends.low, ends.mid, ends.mid * math.exp(fit.half_width))


def _energy_floor(table: Table, precision: str, fit: Fit | None, latency: Ends, energy: Ends | None) -> Ends | None:
    """As _floor: what follows from no less than that `latency`, with no more than the half width of the fit."""
    if fit is None or energy is None:
        return None if energy is None else energy_ends(table, precision, None, latency)
    least = fit.predict_many(energy_features(table.features(precision), latency.high)).mid
    return Ends(energy.low, energy.mid, least * math.exp(fit.half_width))


def _at_ffn(table: Table, ffn: Whole) -> Table:
    return table_of_specs(replace(table.specs, ffn=ffn), table.sequence, table.pricing)


def _negative(ratios: Numbers) -> Numbers:
    return np.where(np.isnan(ratios), NONE, -ratios)
