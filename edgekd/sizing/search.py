"""The most capable student that fits: count all, measure a few untrained, correct the prediction, measure the best.

Nothing is trained here: the latency of a network does not depend on what its weights are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekd.device import DeviceProfile
from edgekd.errors import MeasureError
from edgekd.recipe import Search, Space
from edgekd.sizing.choice import Standing, first_finalists, next_finalists, reason_text
from edgekd.sizing.design import spanning
from edgekd.sizing.forecast import Fits, Forecast, Measurement, fitted, forecasts
from edgekd.sizing.limits import Limit, limits_from_sla
from edgekd.sizing.obstacle import Obstacle, obstacle_of
from edgekd.sizing.price import PricedStudent, Setting, priced
from edgekd.sizing.space import Enumeration, enumerate_students
from edgekd.sla import Sla
from edgekd.student import Candidate, StudentSpec
from edgekd.text import listing

Measure = Callable[[Sequence[Candidate]], Mapping[str, Measurement]]

ALLOWANCE = 3  # times search.finalists students are measured after the calibration, at most
AGREE_WITHIN = 0.1  # a repeated measurement confirms a doubtful one when it is at most this far from it, relatively


@dataclass(frozen=True)
class Sizing:
    """What was decided and why. `chosen` is None when no student is known to keep the limits; then see `obstacle`.

    `fitting` are the precisions in which the chosen student keeps every limit, `pareto` names candidates, `calibrated`
    and `finalists` the students measured for the fit and before the choice, `repeated` candidates measured again.
    """

    teacher: PricedStudent
    device: str
    setting: Setting
    enumeration: Enumeration
    students: list[PricedStudent]
    limits: list[Limit]
    calibrated: list[str]
    finalists: list[str]
    repeated: list[str]
    measurements: dict[str, Measurement]
    fits: dict[str, Fits]
    forecasts: dict[str, Forecast]
    pareto: list[str]
    chosen: PricedStudent | None
    fitting: list[str]
    reason: str
    obstacle: Obstacle | None


def size(
    teacher: StudentSpec,
    space: Space,
    sla: Sla,
    profile: DeviceProfile,
    search: Search,
    *,
    precisions: Sequence[str],
    batch: int,
    sequence: int,
    threads: int,
    measure: Measure | None,
) -> Sizing:
    """The most capable student of `space` that keeps the limits of `sla` on the host behind `measure`.

    `measure` takes untrained candidates and gives a measurement for each, by candidate name; without it the choice
    rests on the roofline of `profile` alone. Accuracy is not judged here: nothing is trained yet.
    Shapes: `sequence` tokens per input; a ViT has its own and ignores it.
    Errors: SpecError when the space holds no student; MeasureError when `measure` leaves a candidate out. An SLA that
    no student keeps is no error: `chosen` is None and `obstacle` says why.
    """
    enumeration = enumerate_students(space, teacher)
    setting = Setting(tuple(precisions), batch, teacher.tokens or sequence, threads)
    students = priced(enumeration.students, teacher, profile, setting)
    limits = limits_from_sla(sla, profile)
    run = _Run(students, limits, setting, measure)
    if measure is not None:
        run.calibrate(search.calibrate)
        run.narrow_down(search.finalists)
    standing = run.standing
    chosen = standing.best if measure is not None else next(iter(standing.feasible), None)
    return Sizing(
        teacher=priced([teacher], teacher, profile, setting)[0],
        device=profile.name,
        setting=setting,
        enumeration=enumeration,
        students=students,
        limits=limits,
        calibrated=run.calibrated,
        finalists=run.finalists,
        repeated=run.repeated,
        measurements=run.measurements,
        fits=run.fits,
        forecasts=dict(standing.forecasts),
        pareto=standing.pareto,
        chosen=chosen,
        fitting=standing.fitting(chosen) if chosen else [],
        reason=_reason(chosen, limits, measure),
        obstacle=None if chosen else obstacle_of(standing, enumeration, precisions),
    )


def _reason(chosen: PricedStudent | None, limits: Sequence[Limit], measure: Measure | None) -> str:
    if chosen is None:
        return "no student of the space is known to keep the limits"
    suffix = "" if measure is not None else " by prediction alone: nothing was measured"
    return reason_text(chosen, limits) + suffix


@dataclass
class _Run:
    """The measuring of one search: what is known so far, and the standing that follows from it."""

    students: list[PricedStudent]
    limits: list[Limit]
    setting: Setting
    measure: Measure | None
    calibrated: list[str] = field(default_factory=list)
    finalists: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    fits: dict[str, Fits] = field(default_factory=dict)

    _touched: list[PricedStudent] = field(default_factory=list)
    _standing: Standing | None = None

    def __post_init__(self) -> None:
        self._refit()

    @property
    def standing(self) -> Standing:
        """How the students stand now; costly to make, so it is kept until something more was measured."""
        if self._standing is None:
            expected = forecasts(self.students, self.fits)
            self._standing = Standing(self.students, self.limits, expected, dict(self.measurements))
        return self._standing

    def calibrate(self, number: int) -> None:
        taken = spanning(self.students, number)
        self.calibrated = [student.name for student in taken]
        self._add(taken)

    def narrow_down(self, number: int) -> None:
        left = ALLOWANCE * number
        finalists = first_finalists(self.standing, number) or next_finalists(self.standing, number)
        while finalists and left:
            finalists = finalists[:left]
            left -= len(finalists)
            self.finalists += [student.name for student in finalists]
            self._add(finalists)
            finalists = next_finalists(self.standing, number)

    def _add(self, students: Sequence[PricedStudent]) -> None:
        self._touched += students
        self.measurements |= self._measured([candidate for student in students for candidate in student.candidates])
        self._refit()
        while doubtful := self._doubtful():
            self._repeat(doubtful)
            self._refit()

    def _refit(self) -> None:
        self.fits = fitted(self._touched, self.measurements, self.setting.precisions, self.repeated)
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
