"""Successive halving over the students of a plan, with whoever else works on the same study.

Every worker takes what is not in another's hand, waits for what is, and decides from the same outcomes; so all come to
the same end, and no outcome is made twice. Workers need not agree on the students: each halves its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.sizing.quality import CurvePoint, Ended, Tried, standard_error
from edgekd.trials.curve import can_reach
from edgekd.trials.plan import Plan, widths
from edgekd.trials.register import Job, Outcome, Register, Taken

LOOK_S = 0.5  # between two looks at what others do, our choice

GoOn = Callable[[Sequence[CurvePoint], NDArray[np.float64]], bool]


class Train(Protocol):
    """Trains a student to `job.steps`, evaluated every `every` steps."""

    def __call__(self, job: Job, every: int, go_on: GoOn) -> Outcome | None:
        """The outcome; None when time was up before.

        `go_on` is asked after each evaluation, with the curve and the losses of its last point, whether to go on.
        """
        ...


@dataclass
class Halving:
    """One worker's part. `over` says that its time is up; `heard` is told when it waits for others.

    Afterwards `cut` says whether time ended before the last rung did.
    """

    plan: Plan
    dimensions: Mapping[str, Mapping[str, int]]
    register: Register
    train: Train
    over: Callable[[], bool]
    heard: Callable[[str], None] = lambda _text: None
    look_s: float = LOOK_S
    cut: bool = field(default=False, init=False)
    _done: dict[str, list[Outcome]] = field(default_factory=dict, init=False)
    _unfinished: dict[str, tuple[CurvePoint, ...]] = field(default_factory=dict, init=False)
    _ended: dict[str, Ended] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, Tried]:
        """What the trials told of each student of the plan that was tried at all."""
        left = list(self.plan.students)
        rungs = list(zip(widths(len(left)), self.plan.rungs, strict=False))
        compared: dict[str, int] = {}
        for rung, (_, steps) in enumerate(rungs):
            following = rungs[rung + 1][0] if rung + 1 < len(rungs) else 0
            found = self._rung(left, steps, kept=following or 1)
            ranked = self._enter(left, found, following)
            # A rung that was cut compares only some; before the first is whole, some are better than none.
            if not self.cut or rung == 0:
                compared |= dict.fromkeys(ranked, rung)
            left = ranked[:following]
            if self.cut or len(left) < 2:
                break
        names = [name for name in self.plan.students if self._done.get(name) or self._unfinished.get(name)]
        return {name: self._tried(name, compared.get(name)) for name in names}

    def _enter(self, names: Sequence[str], found: Mapping[str, Outcome], following: int) -> list[str]:
        """Note how each of `names` came out of a rung; those that were trained to its end, the lowest loss first."""
        self.cut = len(found) < len(names)
        for name in names:
            self._ended[name] = found[name].ended if name in found else "cut"
            self._done.setdefault(name, []).extend([found[name]] if name in found else [])
        finished = [name for name in names if self._ended[name] == "finished"]
        ranked = sorted(finished, key=lambda name: (float(found[name].losses.mean()), name))
        if self.cut:
            self._ended |= dict.fromkeys(ranked, "cut")
        elif following:
            self._ended |= dict.fromkeys(ranked[following:], "halved")
        return ranked

    def _rung(self, names: Sequence[str], steps: int, kept: int) -> dict[str, Outcome]:
        """The outcome of each of `names` at that rung, as far as time allows; the best `kept` matter afterwards."""
        while True:
            outcomes = self.register.outcomes()
            found = {name: outcomes[name, steps] for name in names if (name, steps) in outcomes}
            open_names = [name for name in names if name not in found]
            if not open_names or self.over():
                return found
            if not self._work(open_names, steps, found, kept):
                self.heard(f"waiting for other workers, who try {', '.join(open_names)}")
                self.register.bury()
                time.sleep(self.look_s)

    def _work(self, names: Sequence[str], steps: int, found: Mapping[str, Outcome], kept: int) -> bool:
        """Train one of `names` that nobody has in hand; False when there is none."""
        for name in names:
            job = Job(name, steps, self.dimensions.get(name, {}))
            taken = self.register.take(job)
            if taken is not None:
                self._train(job, taken, found, kept)
                return True
        return False

    def _train(self, job: Job, taken: Taken, found: Mapping[str, Outcome], kept: int) -> None:
        rivals = sorted((o for o in found.values() if o.ended == "finished"), key=lambda o: float(o.losses.mean()))
        rival = rivals[kept - 1] if len(rivals) >= kept else None
        curve: list[CurvePoint] = []

        def go_on(points: Sequence[CurvePoint], losses: NDArray[np.float64]) -> bool:
            curve[:] = points
            taken.report(points[-1])
            if rival is None or points[-1].step >= job.steps:
                return True
            needed, error = float(rival.losses.mean()), standard_error(losses, rival.losses)
            return can_reach([(point.step, point.loss) for point in points], job.steps, needed, error)

        with taken.working():
            outcome = self.train(job, self.plan.every, go_on)
        if outcome is None:
            self._unfinished[job.student] = tuple(curve)
            taken.leave()
        else:
            taken.finish(outcome)

    def _tried(self, name: str, rung: int | None) -> Tried:
        outcomes = self._done.get(name, [])
        at = None if rung is None else outcomes[rung]
        curve = self._unfinished.get(name) or (outcomes[-1].curve if outcomes else ())
        return Tried(
            rung=rung,
            steps=curve[-1].step if curve else 0,
            seconds=outcomes[-1].seconds if outcomes else 0.0,
            loss=None if at is None else at.loss,
            accuracy=None if at is None else at.accuracy,
            ended=self._ended[name],
            curve=curve,
            losses=np.zeros(0) if at is None else at.losses,
        )
