"""One phase of a training: some epochs under one schedule, which can be killed at any moment and goes on exactly."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from edgekd.distill import processes
from edgekd.distill.checkpoints import Checkpoint, checkpoint_folder, keep_only, newest, seal
from edgekd.distill.features import FeatureTeacher
from edgekd.distill.reporting import Curve, Reporting, curve_of, reporters, run_name
from edgekd.distill.scaffold import Dropping, Scaffold
from edgekd.distill.schedule import Level, level_at
from edgekd.distill.settings import (
    EpochRecord,
    OnProgress,
    Progress,
    Stopped,
    TrainingSettings,
    best_of,
)
from edgekd.distill.stopping import stop_reason
from edgekd.distill.tasks import task_of
from edgekd.distill.trainer import DistillationTrainer
from edgekd.files import make_folder


@dataclass(frozen=True)
class Phase:
    """What is trained in which order, and where this phase stands in the whole.

    `first_epoch` and `first_step` count what came before; `all_epochs` and `all_steps` are the plan of all phases. With
    `labels_alone` the teacher has no part in it.
    """

    folder: Path
    epochs: int
    alpha: Level
    learning_rate: float
    seed: int
    first_epoch: int
    first_step: int
    all_epochs: int
    all_steps: int
    labels_alone: bool = False

    def checkpoint(self, record: EpochRecord) -> Path:
        """The folder of the checkpoint made at the end of `record`'s epoch."""
        return checkpoint_folder(self.folder, record.step - self.first_step)


@dataclass(frozen=True)
class Course:
    """Who learns what, and how: the part that all phases share."""

    model: Any
    train_set: datasets.Dataset
    validation_set: datasets.Dataset
    settings: TrainingSettings
    pad_token_id: int | None
    on_progress: OnProgress | None
    features: FeatureTeacher | None = None
    scaffold: Scaffold | None = None
    reporting: Reporting | None = None


@dataclass
class Clock:
    """Time used against a limit. `used_s` counts earlier, killed calls too."""

    limit_s: float | None
    before_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    @property
    def used_s(self) -> float:
        """Seconds used so far."""
        return self.before_s + time.monotonic() - self.started_s

    @property
    def over(self) -> bool:
        """True when the limit is reached."""
        return self.limit_s is not None and self.used_s >= self.limit_s


def run_phase(course: Course, phase: Phase, clock: Clock) -> tuple[tuple[EpochRecord, ...], Stopped]:
    """The records of the phase's epochs and why it ended. Its best weights lie in `phase.checkpoint(best)`.

    Goes on from the newest whole checkpoint in `phase.folder`.
    """
    start = processes.done_by_first(lambda: newest(make_folder(phase.folder)))
    if start is not None:
        clock.before_s = max(clock.before_s, start.seconds)
        if start.stopped is not None:
            return start.history, start.stopped
    recorder = _Recorder(course, phase, clock, () if start is None else start.history)
    told = _reporters(course, phase, 0 if start is None else start.history[-1].step - phase.first_step)
    trainer = DistillationTrainer(
        course.model,
        _arguments(phase, course),
        train_dataset=course.train_set,
        eval_dataset=course.validation_set,
        task=course.settings.task,
        temperature=course.settings.temperature,
        alpha=phase.alpha,
        layer_decay=course.settings.layer_decay,
        precision=course.settings.precision,
        loss=course.settings.loss,
        features=None if phase.labels_alone else course.features,
        pad_token_id=course.pad_token_id,
        callbacks=[recorder, *_dropping(course, phase), *told],
    )
    recorder.trainer = trainer
    for each in told:
        if isinstance(each, Curve):
            each.trainer = trainer
    # Making a trainer seeds all processes alike; dropout should fall differently on the rows of each.
    torch.manual_seed(phase.seed + processes.rank())
    trainer.train(resume_from_checkpoint=None if start is None else str(start.folder))
    return recorder.history, recorder.stopped or "finished"


def _dropping(course: Course, phase: Phase) -> list[Dropping]:
    return [] if course.scaffold is None else [Dropping(course.scaffold, for_good=phase.labels_alone)]


def _reporters(course: Course, phase: Phase, step: int) -> list[TrainerCallback]:
    told = reporters(course.reporting, phase.folder.parent.name, phase.folder.name, step=step)
    return [*told, curve_of(phase.all_steps - phase.first_step)] if told else []


def _arguments(phase: Phase, course: Course) -> TrainingArguments:
    settings, reporting = course.settings, course.reporting
    named = {} if reporting is None else {"run_name": run_name(reporting, phase.folder.name)}
    return training_arguments(
        phase.folder, settings, **named, num_train_epochs=phase.epochs, learning_rate=phase.learning_rate,
        seed=phase.seed, data_seed=phase.seed, warmup_steps=settings.warmup, lr_scheduler_type="cosine",
        eval_strategy="epoch", save_strategy="epoch", logging_strategy="epoch",
    )  # fmt: skip


def training_arguments(folder: Path, settings: TrainingSettings, **schedule: Any) -> TrainingArguments:
    """What every training of ours asks of transformers' Trainer, with the `schedule` of this one."""
    with_cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=max(1, settings.batch_size // (settings.accumulation * processes.count())),
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        use_cpu=not with_cuda,
        dataloader_pin_memory=with_cuda,
        **schedule,
    )
    # Several GPUs in one process would mean DataParallel, whose gathering is neither exact nor fast.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments


class _Recorder(TrainerCallback):
    """Writes the history, ends the phase (see stop_reason; time), and seals the checkpoints."""

    def __init__(self, course: Course, phase: Phase, clock: Clock, history: tuple[EpochRecord, ...]) -> None:
        self.trainer: DistillationTrainer | None = None
        self.history = history
        self.stopped: Stopped | None = None
        self._course, self._phase, self._clock = course, phase, clock
        self._train_loss = self._learning_rate = float("nan")

    @override
    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if processes.first_says(self._clock.over):
            self.stopped = "budget"
            control.should_training_stop = True
        if self._course.on_progress is not None and self.trainer is not None and processes.is_first():
            phase = self._phase
            self._course.on_progress(
                Progress(
                    epoch=phase.first_epoch + len(self.history) + 1,
                    epochs=phase.all_epochs,
                    step=phase.first_step + state.global_step,
                    steps=phase.all_steps,
                    loss=self.trainer.step_loss,
                    accuracy=self.history[-1].validation_accuracy if self.history else None,
                )
            )

    @override
    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._train_loss, self._learning_rate = logs["loss"], logs["learning_rate"]

    @override
    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        record = EpochRecord(
            epoch=self._phase.first_epoch + len(self.history) + 1,
            step=self._phase.first_step + state.global_step,
            train_loss=self._train_loss,
            validation_loss=metrics["eval_loss"],
            validation_accuracy=metrics["eval_accuracy"],
            alpha=level_at(self._phase.alpha, state.global_step - 1, state.max_steps),
            learning_rate=self._learning_rate,
            calibration_error=metrics["eval_calibration_error"],
            calibration_chance=metrics["eval_calibration_chance"],
            by_loss=task_of(self._course.settings.task).ranked_by_loss(),
            scaffold=0 if self._course.scaffold is None else self._course.scaffold.left,
        )
        self.history = (*self.history, record)
        if self.stopped is None:
            self.stopped = stop_reason(self.history, self._phase.epochs, self._course.settings)
            # After the last epoch the loop ends by itself, and its checkpoint is written all the same.
            control.should_training_stop = self.stopped not in (None, "finished")

    @override
    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        processes.wait_for_all()  # each has written its own random state there
        processes.done_by_first(lambda: self._seal(checkpoint_folder(self._phase.folder, state.global_step)))

    def _seal(self, folder: Path) -> None:
        seal(Checkpoint(folder, self.history, self.stopped, self._clock.used_s))
        keep_only(self._phase.folder, [folder, self._phase.checkpoint(best_of(self.history))])
