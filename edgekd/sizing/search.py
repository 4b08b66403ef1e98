"""The most capable student that fits: count all, measure a few untrained, correct the prediction, measure the best.

Nothing is trained to be measured: the latency of a network does not depend on what its weights are. Whoever wants to
know more than capacity tells hands in `try_out`, which trains the leading students for a short time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.cost.calibrate import Interval
from edgekd.device import DeviceProfile
from edgekd.recipe import Search
from edgekd.sizing.attempts import NOTHING, Learned
from edgekd.sizing.choice import Standing, reason_text, trials_text
from edgekd.sizing.forecast import Fits, Measurement
from edgekd.sizing.grid import Grid
from edgekd.sizing.limits import Limit, limits_from_sla
from edgekd.sizing.measuring import Measure, Measuring, PredictionError
from edgekd.sizing.obstacle import Obstacle, obstacle_of
from edgekd.sizing.price import PricedStudent, Setting, priced
from edgekd.sizing.proposal import step_text
from edgekd.sizing.quality import Trials
from edgekd.sizing.supply import supply_of
from edgekd.sizing.table import Pricing, Table
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import StudentSpec

Try = Callable[[Sequence[PricedStudent]], Trials]


@dataclass(frozen=True, eq=False)
class Sizing:
    """What was decided and why. `chosen` is None when no student is known to keep the limits; then see `obstacle`.

    `standing` holds the students in its table, their forecasts and what was measured. `considered` counts combinations
    of the space, `possible` those that are students (None in a space too large to count), `refused` says why how many
    are not. The front of `standing` is that of the space, except that in a very large one a student may be more capable
    than one on it by the share `within`, None where nobody knows. `fitting` are the precisions in which the chosen
    student keeps every limit, `calibrated` and `finalists` the students measured for the fit and before the choice,
    `repeated` candidates measured again, `predicted` what finalists should have taken before they were measured.
    `trials` are the short distillations, None where none were asked for.
    """

    teacher: PricedStudent
    device: str
    setting: Setting
    considered: int
    possible: int | None
    refused: Mapping[str, int]
    warnings: Sequence[str]
    standing: Standing
    within: float | None
    calibrated: list[str]
    finalists: list[str]
    repeated: list[str]
    fits: Mapping[str, Fits]
    predicted: Mapping[str, Interval]
    error: PredictionError | None
    chosen: PricedStudent | None
    fitting: list[str]
    reason: str
    obstacle: Obstacle | None
    trials: Trials | None = None

    @property
    def students(self) -> Table:
        """The students of the space."""
        return self.standing.table

    @property
    def limits(self) -> Sequence[Limit]:
        """The limits that were applied."""
        return self.standing.limits

    @property
    def measurements(self) -> Mapping[str, Measurement]:
        """What was measured, by candidate."""
        return self.standing.measurements


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
    known: Mapping[str, Fits] | None = None,
    try_out: Try | None = None,
    learned: Learned = NOTHING,
) -> Sizing:
    """The most capable student of `space` that keeps the limits of `sla` on the host behind `measure`.

    `measure` gives a measurement for each untrained candidate, by name; without it the choice rests on the roofline of
    `profile` or on `known` fits by precision. `try_out` trains leading students that were measured and keep the limits
    for a short time, `search.trials` of them, and the best of these is chosen.
    `learned` is what trained students taught; `chosen` is None where no student stands where it aims.
    Shapes: `sequence` tokens per input where the space names none; a ViT has its own and ignores it.
    An SLA that no student keeps is no error: `chosen` is None and `obstacle` says why.
    Errors: SpecError for a space without students or too long an input; MeasureError when `measure` leaves one out.
    """
    grid = Grid(space, teacher, teacher.tokens or sequence)
    setting = Setting(tuple(precisions), batch, grid.sequences[-1], threads)
    (reference,) = priced([teacher], teacher, profile, setting)  # first, for it refuses an input nobody could take
    supply = supply_of(grid, Pricing(teacher, profile, setting, several=len(grid.sequences) > 1))
    limits = limits_from_sla(sla, profile)
    run = Measuring(supply, limits, setting.precisions, measure, search.compare, search.finalists, known or {}, learned)
    if measure is not None:
        _measure(run, search.calibrate, _trained(learned, teacher, profile, setting))
    trials = None if measure is None else _trials(run, try_out, search.trials)
    standing = run.standing if trials is None else replace(run.standing, quality=trials.students)
    row = _leading(standing) if measure is None else standing.best
    chosen = None if row is None else standing.table.student(row)
    return Sizing(
        teacher=reference,
        device=profile.name,
        setting=setting,
        considered=grid.size,
        possible=supply.possible,
        refused=supply.refused,
        warnings=supply.warnings,
        standing=standing,
        within=supply.within,
        calibrated=run.calibrated,
        finalists=run.finalists,
        repeated=run.repeated,
        fits=run.fits,
        predicted=run.predicted,
        error=run.error,
        chosen=chosen,
        fitting=[] if row is None else standing.fitting(row),
        reason=_reason(chosen, standing, measure, trials) + step_text(learned.aim),
        obstacle=obstacle_of(standing, supply.refused) if row is None else None,
        trials=trials,
    )


def _measure(run: Measuring, calibrate: int, trained: Sequence[PricedStudent]) -> None:
    run.calibrate(calibrate)
    run.revisit(trained)
    run.narrow_down()


def _leading(standing: Standing) -> int | None:
    return next(iter(standing.table.leading(standing.feasible, 1)), None)


def _trained(learned: Learned, *against: Any) -> list[PricedStudent]:
    return [one for tried in learned.tried for one in priced([tried.student], *against, sequence=tried.sequence)]


def _trials(run: Measuring, try_out: Try | None, number: int) -> Trials | None:
    """What trials tell; None without any, or where fewer than two students keep the limits: nothing to compare."""
    if try_out is None:
        return None
    students = run.admit(number)
    return try_out(students) if len(students) > 1 else None


def _reason(chosen: PricedStudent | None, standing: Standing, measure: Measure | None, trials: Trials | None) -> str:
    limits = standing.limits
    if chosen is None:
        return "no student of the space is known to keep the limits"
    if standing.tried is not None:
        return trials_text(chosen, limits, alone=standing.tried[1])
    if trials is not None:
        return reason_text(chosen, limits) + "; the trials ended before any two could be compared"
    suffix = "" if measure is not None else " by prediction alone: nothing was measured"
    return reason_text(chosen, limits) + suffix
