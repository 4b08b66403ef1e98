"""How one student is tried: as the step distill would begin with it, at a constant rate, judged on validation data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import Diverged
from edgekd.pipeline.begin import start_of
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.sizing.quality import CurvePoint
from edgekd.trials.plan import Pace

if TYPE_CHECKING:
    from edgekd.distill.settings import EpochRecord, TrainingSettings
    from edgekd.distill.short import Short, Stretch, Watch
    from edgekd.sizing.price import PricedStudent
    from edgekd.trials.halving import GoOn
    from edgekd.trials.meter import Meter
    from edgekd.trials.register import Job, Outcome

MOST_EXAMPLES = 2000  # of the validation part, evenly spaced, our choice: their losses are kept for each student
PACED_STEPS = 6  # our choice: a median of four


@dataclass
class Course:
    """Trains students for a Halving, inside `folder` and while `meter` runs. `warmup` steps come before the full rate.

    The folder must be of one teacher, data set and setting.
    """

    context: Context
    folder: Path
    students: Mapping[str, PricedStudent]
    meter: Meter
    warmup: int = 0

    @cached_property
    def lesson(self) -> Lesson:
        """The data with the teacher's answers, at most 2000 examples of the validation part, and the teacher."""
        sequence = next(iter(self.students.values())).sequence
        found = lesson(self.context, sequence or None)
        rows = len(found.validation)
        if rows <= MOST_EXAMPLES:
            return found
        picked = [index * rows // MOST_EXAMPLES for index in range(MOST_EXAMPLES)]
        return replace(found, validation=found.validation.select(picked))

    @cached_property
    def settings(self) -> TrainingSettings:
        """The settings of the step distill; its epochs and schedule have no meaning here."""
        from edgekd.distill.settings import student_settings

        return student_settings(self.context.recipe.distill, self.context.recipe.budget, self.context.recipe.task)

    @property
    def most_steps(self) -> int:
        """The optimiser steps of the whole distillation."""
        return self.settings.epochs * -(-len(self.lesson.train) // self.settings.batch_size)

    def __call__(self, job: Job, every: int, go_on: GoOn) -> Outcome | None:
        """The outcome of `job`; None when time was up before. Errors: TrainingError, StorageError."""
        from edgekd.distill.short import Stretch, Watch
        from edgekd.trials.register import Outcome

        seen: list[CurvePoint] = []

        def evaluated(history: Sequence[EpochRecord], losses: NDArray[np.float64]) -> bool:
            seen[:] = _curve(history)
            self.meter.save()
            return go_on(seen, losses)

        def stepped(step: int) -> bool:
            text = f"trying {job.student}, step {step} of {job.steps}"
            self.context.progress.update(text + (f", loss {seen[-1].loss:.3f}" if seen else ""), self.meter.share)
            return not self.meter.over

        try:
            short = self._train(job.student, Stretch(job.steps, every, self.warmup), Watch(evaluated, stepped))
        except Diverged:
            return Outcome("diverged", 0.0, None, None, tuple(seen), np.zeros(0))
        curve = _curve(short.history)
        whole = bool(curve) and curve[-1].step >= job.steps
        if not curve or (not whole and self.meter.over):
            return None
        last = curve[-1]
        return Outcome("finished" if whole else "pruned", short.seconds, last.loss, last.accuracy, curve, short.losses)

    def pace(self, name: str) -> Pace | None:
        """What `name` takes on this machine, from a few steps; None when time was up or it diverged in these."""
        from edgekd.distill.short import Stretch, Watch

        times: list[float] = []

        def stepped(_step: int) -> bool:
            times.append(time.monotonic())
            return not self.meter.over

        self.context.progress.update(f"timing the training of {name}", self.meter.share)
        begun, place = time.monotonic(), self.folder / "pace"
        shutil.rmtree(place, ignore_errors=True)
        try:
            self._train(name, Stretch(PACED_STEPS, PACED_STEPS, PACED_STEPS), Watch(stepped=stepped), place)
        except Diverged:
            self.context.progress.update(f"{name} diverged while it was timed")
        ended = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        if len(times) < 3 or self.meter.over:
            return None
        # The last step is followed by an evaluation and a checkpoint.
        step_s = median(after - before for before, after in pairwise(times[:-1]))
        return Pace(step_s, max(0.0, ended - times[-2] - step_s), times[0] - begun)

    def _train(self, name: str, stretch: Stretch, watch: Watch, place: Path | None = None) -> Short:
        from edgekd.distill.short import train_short

        taught = self.lesson
        spec = self.students[name].spec
        student, _ = taught.student(spec, self.context.recipe.distill.seed, start_of(self.context, taught, spec))
        # Checkpoints of another plan are of another training.
        home = place or self.folder / f"every-{stretch.every}-warmup-{stretch.warmup}" / name
        return train_short(
            student, taught.train, taught.validation, self.settings, stretch, home, teacher=taught.teacher,
            pad_token_id=taught.pad, watch=watch,
        )  # fmt: skip


def _curve(history: Sequence[EpochRecord]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(r.step, r.validation_loss, r.validation_accuracy) for r in history)
