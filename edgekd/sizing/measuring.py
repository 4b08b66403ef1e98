"""The measuring of one search: who is measured untrained, how the fit follows, and how far off it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from edgekd.cost.calibrate import Interval
from edgekd.errors import MeasureError
from edgekd.sizing.attempts import NOTHING, Learned
from edgekd.sizing.choice import Compare, Standing, contenders, first_finalists, next_finalists, undecided
from edgekd.sizing.design import to_measure
from edgekd.sizing.entrants import entrants
from edgekd.sizing.forecast import Fits, Measurement, fitted, forecasts
from edgekd.sizing.limits import Limit
from edgekd.sizing.price import PricedStudent
from edgekd.sizing.table import Table
from edgekd.student import Candidate
from edgekd.text import listing

Measure = Callable[[Sequence[Candidate]], Mapping[str, Measurement]]
"""A measurement of each candidate, by name; of one that was asked for before, from all that was measured of it."""

ANCHORS = 3  # students that tell how a calibration of the board has to be rescaled, our choice
ALLOWANCE = 3  # times search.finalists students are measured after the calibration, at most
AGREE_WITHIN = 0.1  # a repeated measurement confirms a doubtful one when it is at most this far from it, relatively


class Supply(Protocol):
    """Where the students of a search come from: all of them, or those that matter for what is known so far."""

    @property
    def sample(self) -> Table:
        """Students that span the space: all of them, or an even part."""
        ...

    def table(self, known: Known) -> Table:
        """The students to decide among."""
        ...


@dataclass(frozen=True, eq=False)
class Known:
    """What a search knows: the limits, which end must keep them, the fits, and what was measured.

    `number` is how many finalists are measured at a time, `learned` what trained students taught.
    """

    limits: Sequence[Limit]
    compare: Compare
    number: int
    fits: Mapping[str, Fits]
    measured: Sequence[PricedStudent]
    measurements: Mapping[str, Measurement]
    learned: Learned = NOTHING

    def standing(self, table: Table) -> Standing:
        """How the students of `table` stand with that."""
        expected = forecasts(table, self.fits)
        return Standing(table, self.limits, expected, self.measured, self.measurements, self.compare, self.learned)


@dataclass(frozen=True, slots=True)
class PredictionError:
    """How far predictions were from what was measured afterwards: |measured / predicted - 1| of the latency.

    `held` counts the candidates whose measured latency lay within the predicted interval.
    """

    candidates: int
    held: int
    median: float
    worst: float


@dataclass
class Measuring:
    """The state of one search; without `measure` nothing is measured."""

    supply: Supply
    limits: list[Limit]
    precisions: Sequence[str]
    measure: Measure | None
    compare: Compare
    number: int
    known: Mapping[str, Fits] = field(default_factory=dict)
    learned: Learned = NOTHING
    calibrated: list[str] = field(default_factory=list)
    finalists: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    predicted: dict[str, Interval] = field(default_factory=dict)
    fits: dict[str, Fits] = field(default_factory=dict)

    _touched: list[PricedStudent] = field(default_factory=list)
    _standing: Standing | None = None

    def __post_init__(self) -> None:
        self._refit()

    @property
    def standing(self) -> Standing:
        """How the students stand now; costly to make, so it is kept until something more was measured."""
        if self._standing is None:
            measured, measurements = list(self._touched), dict(self.measurements)
            known = Known(self.limits, self.compare, self.number, self.fits, measured, measurements, self.learned)
            self._standing = known.standing(self.supply.table(known))
        return self._standing

    @property
    def error(self) -> PredictionError | None:
        """How far off the predictions of the finalists were; None where nothing was predicted and then measured."""
        pairs = [(found, self.measurements[name].latency_s) for name, found in self.predicted.items()]
        if not pairs:
            return None
        errors = [abs(latency_s / found.mid - 1) for found, latency_s in pairs]
        held = sum(found.low <= latency_s <= found.high for found, latency_s in pairs)
        return PredictionError(len(pairs), held, median(errors), max(errors))

    def calibrate(self, number: int) -> None:
        """Measure `number` students that tell most about a latency; few, where its prices are known already."""
        if self.known and all(precision in self.known for precision in self.precisions):
            number = min(number, ANCHORS)
        sample = self.supply.sample
        taken = [sample.student(row) for row in to_measure(sample, number)]
        self.calibrated = [student.name for student in taken]
        self._add(taken)

    def revisit(self, students: Sequence[PricedStudent]) -> None:
        """Measure students that were trained, where they were not measured yet: their truths are compared with that."""
        names = set(self.measurements)
        new = [one for one in students if not names.issuperset(each.name for each in one.candidates)]
        if new:
            self._add(new)

    def narrow_down(self) -> None:
        """Measure the leading students until measuring more cannot help or the allowance is spent.

        Then those that their forecast does not promise to keep the limits, but that are more likely to than not, and
        once more those whose measurement does not decide.
        """
        left, rivals = ALLOWANCE * self.number, self.number
        rows = first_finalists(self.standing, self.number) or next_finalists(self.standing, self.number)
        while rows and left:
            rows = rows[:left]
            left -= len(rows)
            self._measure_rows(rows)
            rows = next_finalists(self.standing, self.number)
            if not rows:
                rows = contenders(self.standing, rivals)
                rivals -= len(rows)
        self._settle()

    def _settle(self) -> None:
        table, rows = self.standing.table, undecided(self.standing, self.number)
        students = [table.student(row) for row in rows]
        again = [candidate for student in students for candidate in student.candidates]
        if again:
            self.repeated += [each.name for each in again if each.name not in self.repeated]
            self.measurements |= self._measured(again)
            self._refit()

    def _measure_rows(self, rows: Sequence[int]) -> None:
        taken = [self.standing.table.student(row) for row in rows]
        self.finalists += [student.name for student in taken]
        self._predict(rows, taken)
        self._add(taken)

    def admit(self, number: int) -> list[PricedStudent]:
        """At most `number` students for trials, the most capable first: each was measured and keeps the limits."""
        left = ALLOWANCE * number
        while True:
            standing = self.standing
            rows = entrants(standing, number)
            new = [row for row in rows if not standing.complete[row]][:left]
            if not new:
                return [standing.table.student(row) for row in rows if standing.complete[row]]
            left -= len(new)
            self._measure_rows(new)

    def _predict(self, rows: Sequence[int], students: Sequence[PricedStudent]) -> None:
        for row, student in zip(rows, students, strict=True):
            for candidate in student.candidates:
                ends = self.standing.forecasts[candidate.precision].latency
                found = Interval(*(float(getattr(ends, end)[row]) for end in ("low", "mid", "high")))
                if found.mid > 0 and candidate.name not in self.measurements:
                    self.predicted[candidate.name] = found

    def _add(self, students: Sequence[PricedStudent]) -> None:
        self._touched += students
        self.measurements |= self._measured([candidate for student in students for candidate in student.candidates])
        self._refit()
        while doubtful := self._doubtful():
            self._repeat(doubtful)
            self._refit()

    def _refit(self) -> None:
        self.fits = fitted(self._touched, self.measurements, self.precisions, self.repeated, self.known)
        self._standing = None

    def _doubtful(self) -> list[Candidate]:
        outliers = {name for fits in self.fits.values() if fits.latency for name in fits.latency.outliers}
        names = outliers - set(self.repeated)
        return [candidate for student in self._touched for candidate in student.candidates if candidate.name in names]

    def _repeat(self, candidates: Sequence[Candidate]) -> None:
        """Measure again what the fit set aside: a second time, a third where the two differ; then the median counts."""
        names = [candidate.name for candidate in candidates]
        self.repeated += names
        first = {name: self.measurements[name] for name in names}
        second = self._measured(candidates)
        torn = [candidate for candidate in candidates if not _agree(first[candidate.name], second[candidate.name])]
        third = self._measured(torn) if torn else {}
        for name in names:
            taken = [runs[name] for runs in (first, second, third) if name in runs]
            self.measurements[name] = sorted(taken, key=lambda found: found.latency_s)[len(taken) // 2]

    def _measured(self, candidates: Sequence[Candidate]) -> dict[str, Measurement]:
        if self.measure is None:
            return {}
        found = self.measure(candidates)
        names = [candidate.name for candidate in candidates]
        missing = [name for name in names if name not in found]
        if missing:
            raise MeasureError(f"no measurement came back for {listing(missing)}, expected one for each. Run again")
        return {name: found[name] for name in names}


def _agree(one: Measurement, other: Measurement) -> bool:
    return abs(math.log(one.latency_s / other.latency_s)) <= AGREE_WITHIN
