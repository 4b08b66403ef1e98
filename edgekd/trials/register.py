"""Who has which trial in hand, and what came of each: one optuna study that any number of workers share.

One optuna trial is one student trained to one rung, with the student's dimensions as its parameters. A worker takes one
by adding it as running; of two workers that added the same the first keeps it, for the study numbers them in order.
Whoever works on a trial changes its `beat` every few seconds. One whose beat stands still for the grace period belongs
to a worker that died: it counts as failed, and the next worker takes it. Standing still is judged by the looker's own
clock, so clocks of different machines need not agree. A worker that comes back takes its own trials up at once.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from edgekd.sizing.quality import CurvePoint
from edgekd.trials.plan import Plan
from edgekd.trials.storage import Place, storage_errors

BEAT_S = 5.0  # our choice: an idle database hears of each worker twelve times a minute
GRACE_S = 60.0  # our choice: twelve beats, so that a machine that is only slow keeps its trial
ANY = IntDistribution(0, 2**31 - 1)
KEPT_DIGITS = 5  # of each loss, our choice


@dataclass(frozen=True)
class Job:
    """A student to be trained to `steps` steps in all; `dimensions` are whole numbers for whoever reads the study."""

    student: str
    steps: int
    dimensions: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """What tells one job from another."""
        return self.student, self.steps


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a job: the last loss and accuracy, None where its training diverged, and the curve up to there.

    Shapes: `losses` [compared examples].
    """

    ended: Literal["finished", "pruned", "diverged"]
    seconds: float
    loss: float | None
    accuracy: float | None
    curve: tuple[CurvePoint, ...]
    losses: NDArray[np.float64]


@dataclass
class Register:
    """The study as the worker named `worker` sees it. Errors of all methods: StorageError."""

    study: optuna.Study
    place: Place
    worker: str
    beat_s: float = BEAT_S
    grace_s: float = GRACE_S
    _seen: dict[int, tuple[str, float]] = field(default_factory=dict)

    def plan(self, own: Plan) -> Plan:
        """The plan that all workers follow: the first that one of them handed in, `own` where none did before."""
        with storage_errors(self.place):
            self.study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={"plan": own.to_dict()}))
            return next(Plan.from_dict(trial.user_attrs["plan"]) for trial in self._trials() if _is_plan(trial))

    def known_plan(self) -> Plan | None:
        """The plan that some worker handed in; None before any did."""
        with storage_errors(self.place):
            return next((Plan.from_dict(trial.user_attrs["plan"]) for trial in self._trials() if _is_plan(trial)), None)

    def outcomes(self) -> dict[tuple[str, int], Outcome]:
        """What came of every job that is done, by its key."""
        found: dict[tuple[str, int], Outcome] = {}
        with storage_errors(self.place):
            for trial in self._trials():
                if "outcome" in trial.user_attrs and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                    found.setdefault(_key(trial), _outcome(trial.user_attrs["outcome"]))
        return found

    def take(self, job: Job) -> Taken | None:
        """The job for this worker alone; None while another has it in hand, or once it is done."""
        with storage_errors(self.place):
            first = self._first(job)
            if first is None:
                claim = uuid.uuid4().hex
                self.study.add_trial(_running(job, self.worker, claim))
                first = self._first(job)
                for trial in self._trials():
                    if trial.user_attrs.get("claim") == claim and first is not None and trial.number != first.number:
                        self._fail(trial)
            mine = first is not None and first.state == TrialState.RUNNING
            if first is None or not mine or first.user_attrs.get("worker") != self.worker:
                return None
            return Taken(self, first)

    def bury(self) -> None:
        """Count the trials of workers that died as failed, so that they can be taken again."""
        now = time.monotonic()
        with storage_errors(self.place):
            for trial in self._trials():
                if trial.state != TrialState.RUNNING or trial.user_attrs.get("worker") == self.worker:
                    continue
                beat = str(trial.user_attrs.get("beat"))
                known, since = self._seen.get(trial.number, ("", now))
                if known != beat:
                    self._seen[trial.number] = (beat, now)
                elif now - since > self.grace_s:
                    self._fail(trial)

    def _trials(self) -> list[FrozenTrial]:
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def _first(self, job: Job) -> FrozenTrial | None:
        return next(
            (t for t in self._trials() if not _is_plan(t) and t.state != TrialState.FAIL and _key(t) == job.key), None
        )

    def _fail(self, trial: FrozenTrial) -> None:
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


class Taken:
    """A job in hand: it beats while `working`, and ends by `finish` or `leave`."""

    def __init__(self, register: Register, trial: FrozenTrial) -> None:
        self._register, self._number = register, trial.number
        # Trial is what ask() gives; optuna has no other way to speak of a running trial that was added.
        self._trial = Trial(register.study, trial._trial_id)  # noqa: SLF001
        self._reported = max(trial.intermediate_values, default=0)
        self._failed: Exception | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside: others hear that somebody works on it. Errors: StorageError when that could not be told."""
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if self._failed is not None:
            with storage_errors(self._register.place):
                raise self._failed

    def report(self, point: CurvePoint) -> None:
        """Tell one point of the curve, for whoever looks at the study; one that was told before is not told again."""
        if point.step <= self._reported:
            return
        with storage_errors(self._register.place), _lost():
            self._trial.report(point.loss, point.step)
        self._reported = point.step

    def finish(self, outcome: Outcome) -> None:
        """Tell what came of it. A worker that was taken for dead tells nothing: another has the job now."""
        with storage_errors(self._register.place), _lost():
            self._trial.set_user_attr("outcome", _table(outcome))
            if outcome.ended == "finished":
                self._register.study.tell(self._number, outcome.loss, skip_if_finished=True)
            else:
                self._register.study.tell(self._number, state=TrialState.PRUNED, skip_if_finished=True)

    def leave(self) -> None:
        """Give the job back unfinished."""
        with storage_errors(self._register.place), _lost():
            self._register.study.tell(self._number, state=TrialState.FAIL, skip_if_finished=True)

    def _beat(self, stop: threading.Event) -> None:
        try:
            while not stop.wait(self._register.beat_s):
                with _lost():
                    self._trial.set_user_attr("beat", uuid.uuid4().hex)
        except Exception as error:  # noqa: BLE001  handed to the thread that works, which raises it
            self._failed = error


@contextmanager
def _lost() -> Iterator[None]:
    """Inside: a trial that another worker has counted as failed cannot be changed any more, and need not be."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        return


def _running(job: Job, worker: str, claim: str) -> FrozenTrial:
    params = {**job.dimensions, "steps": job.steps}
    distributions: dict[str, BaseDistribution] = dict.fromkeys(params, ANY)
    told = {"student": job.student, "worker": worker, "claim": claim, "beat": claim}
    return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=told)


def _is_plan(trial: FrozenTrial) -> bool:
    return "plan" in trial.user_attrs


def _key(trial: FrozenTrial) -> tuple[str, int]:
    return str(trial.user_attrs.get("student")), int(trial.params.get("steps", 0))


def _table(outcome: Outcome) -> dict[str, Any]:
    return {
        "ended": outcome.ended,
        "seconds": outcome.seconds,
        "loss": outcome.loss,
        "accuracy": outcome.accuracy,
        "curve": [[point.step, point.loss, point.accuracy] for point in outcome.curve],
        "losses": [round(float(loss), KEPT_DIGITS) for loss in outcome.losses],
    }


def _outcome(table: Mapping[str, Any]) -> Outcome:
    curve = tuple(CurvePoint(int(step), float(loss), float(right)) for step, loss, right in table["curve"])
    losses = np.array(table["losses"], np.float64)
    return Outcome(table["ended"], float(table["seconds"]), table["loss"], table["accuracy"], curve, losses)
