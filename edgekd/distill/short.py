"""A short training that is judged on its way and may be taken further later: the trial of a student.

The learning rate is constant after its warm-up. A cosine has to know its end: cut short it has not yet annealed, and
taken further it would be another schedule from the first step on. At a constant rate the first steps of a long training
are a short one, so a survivor goes on from its checkpoint. For the same reason an alpha, temperature or weight that
changes follows the steps of the whole training that `settings` plan, and not those of the trial.
Source: Hägele et al. 2024, arXiv:2405.18392 (constant rates, of which any length can be compared).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState
from typing_extensions import override

from edgekd.distill import processes
from edgekd.distill.checkpoints import WEIGHTS, Checkpoint, checkpoint_folder, keep_only, load_weights, newest, seal
from edgekd.distill.feature_cache import StoredFeatures
from edgekd.distill.features import feature_teacher
from edgekd.distill.phase import Clock, training_arguments
from edgekd.distill.schedule import level_at
from edgekd.distill.settings import EpochRecord, TrainingSettings
from edgekd.distill.tasks import Answers, task_of
from edgekd.distill.train import check_stored, check_training, prepared, steps_per_epoch
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError
from edgekd.files import make_folder

Losses = NDArray[np.float64]
History = tuple[EpochRecord, ...]


@dataclass(frozen=True)
class Watch:
    """Who looks on. `evaluated` hears the history and the losses of its last evaluation, `stepped` each step.

    Either ends the training by answering False.
    """

    evaluated: Callable[[History, Losses], bool] = lambda _history, _losses: True
    stepped: Callable[[int], bool] = lambda _step: True


@dataclass(frozen=True)
class Short:
    """What a short training did: its evaluations, counted as epochs, and the seconds of all calls that took part.

    Shapes: `losses` [units of the validation part], that of each at the last evaluation; none before the first.
    """

    history: History
    losses: Losses
    seconds: float


@dataclass(frozen=True)
class Stretch:
    """How far to train: to the step `end`, evaluated every `every` steps and at the end, warming up for `warmup`."""

    end: int
    every: int
    warmup: int


def train_short(
    model: Any,
    train_set: datasets.Dataset,
    validation_set: datasets.Dataset,
    settings: TrainingSettings,
    stretch: Stretch,
    folder: Path,
    *,
    teacher: Any = None,
    features: StoredFeatures | None = None,
    pad_token_id: int | None = None,
    watch: Watch | None = None,
) -> Short:
    """Train `model` to the end of `stretch`; it then holds the weights of its last step, in evaluation mode.

    Goes on from the newest whole checkpoint in `folder`, of a shorter stretch or of a call that was killed, with the
    same result as in one go. Each evaluation leaves a checkpoint. The folder must be this student's, data's and
    settings' own.
    Errors: as edgekd.distill.train.train.
    """
    processes.join()
    if processes.count() > 1:
        raise InputError(f"a trial runs in one process, found {processes.count()}; call train for several")
    check_training(model, train_set, validation_set, settings)
    check_stored(features, teacher, model, train_set, settings)
    start = newest(make_folder(folder))
    clock = Clock(None, before_s=0.0 if start is None else start.seconds)
    taught = task_of(settings.task).taught(model, train_set)
    with prepared(model, settings), taught, feature_teacher(teacher, model, settings, features) as taught_by:
        judge = _Judge(model, validation_set, settings, pad_token_id)
        history = () if start is None else start.history
        if start is not None and history[-1].step >= stretch.end:
            load_weights(model, start.folder / WEIGHTS)
            return Short(history, judge().losses, start.seconds)
        recorder = _Recorder(judge, stretch, folder, clock, watch or Watch(), history)
        trainer = DistillationTrainer(
            model,
            training_arguments(
                folder, settings, max_steps=stretch.end, learning_rate=settings.learning_rate, seed=settings.seed,
                data_seed=settings.seed, warmup_steps=stretch.warmup, lr_scheduler_type="constant_with_warmup",
                eval_strategy="no", save_strategy="no", logging_strategy="no",
            ),
            train_dataset=train_set, task=settings.task, temperature=settings.temperature, alpha=settings.alpha,
            loss=settings.loss, features=taught_by,
            schedule_steps=settings.epochs * steps_per_epoch(len(train_set), settings),
            layer_decay=settings.layer_decay, precision=settings.precision, pad_token_id=pad_token_id,
            callbacks=[recorder],
        )  # fmt: skip
        recorder.trainer = trainer
        trainer.train(resume_from_checkpoint=None if start is None else str(start.folder))
    return Short(recorder.history, recorder.losses, clock.used_s)


class _Judge:
    """The validation part as `model` answers it now."""

    def __init__(
        self, model: Any, dataset: datasets.Dataset, settings: TrainingSettings, pad_token_id: int | None
    ) -> None:
        self.task = task_of(settings.task)
        self._model, self._dataset, self._batch_size, self._pad = model, dataset, settings.batch_size, pad_token_id

    def __call__(self) -> Answers:
        return self.task.answers(self._model, self._dataset, self._batch_size, self._pad)


class _Recorder(TrainerCallback):
    """Evaluates, writes the history, seals the checkpoints, and ends the training when it is told to."""

    def __init__(
        self, judge: _Judge, stretch: Stretch, folder: Path, clock: Clock, watch: Watch, history: History
    ) -> None:
        self.trainer: DistillationTrainer | None = None
        self.history = history
        self.losses: Losses = np.zeros(0)
        self._judge, self._stretch, self._folder, self._clock, self._watch = judge, stretch, folder, clock, watch

    @override
    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        if step % self._stretch.every == 0 or step == self._stretch.end:
            judged = self._judge()
            self.losses = judged.losses
            self._record(step, judged)
            control.should_save = True
            if not self._watch.evaluated(self.history, self.losses):
                control.should_training_stop = True
        if not self._watch.stepped(step):
            control.should_training_stop = True

    def _record(self, step: int, judged: Answers) -> None:
        trainer = self.trainer
        if trainer is None:
            raise AssertionError("a recorder is used without its trainer")
        calibrated = judged.calibration
        record = EpochRecord(
            epoch=len(self.history) + 1,
            step=step,
            train_loss=trainer.step_loss,
            validation_loss=judged.loss,
            validation_accuracy=self._judge.task.score(judged),
            alpha=level_at(trainer.alpha, step - 1, trainer.schedule_steps or step),
            learning_rate=float(trainer._get_learning_rate()),  # noqa: SLF001
            calibration_error=calibrated.error,
            calibration_chance=calibrated.chance,
            by_loss=self._judge.task.ranked_by_loss(),
        )
        self.history = (*self.history, record)

    @override
    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = checkpoint_folder(self._folder, state.global_step)
        seal(Checkpoint(folder, self.history, None, self._clock.used_s))
        keep_only(self._folder, [folder])
