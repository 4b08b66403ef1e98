"""How to train, what is told on the way, and what came out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekd.distill.schedule import Level, Schedule, highest
from edgekd.errors import InputError
from edgekd.recipe import LEAST_TEXTS, Budget
from edgekd.task import TASKS, TaskName
from edgekd.teaching import Distill, FineTune, LevelSchedule, SoftLoss, TrainingPrecision

# A student that stops by itself has reached its teacher or, short of that, ran out of patience: capacity_limited.
# The patience of a training without a teacher ends it early.
Stopped = Literal["finished", "early", "budget", "reached_teacher", "capacity_limited"]

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class HiddenTerm:
    """Hidden states to match, `weight` times their loss; `layers` of student and teacher, None: evenly spread."""

    weight: Level
    layers: Pairs | None = None


@dataclass(frozen=True)
class RelationsTerm:
    """Relations in `heads` relation heads to match, `weight` times their loss; `layers` None: the last of both."""

    weight: Level
    heads: int
    layers: Pairs | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """One training for `task`: AdamW, cosine schedule, `warmup` as a share of the steps, evaluation after every epoch.

    `batch_size` examples make one step, taken in `accumulation` parts. `alpha` 0 is plain cross entropy, else `loss` is
    the teacher's part; `hidden` and `relations` are added to both. `final_ce_epoch`, where the teacher has a part, adds
    an epoch of plain cross entropy that starts from the best weights.
    `layer_decay` multiplies the rate from layer to layer on the way down (see edgekd.distill.rates).
    `precision` is that of the forward pass; weights, loss and evaluation are in float32 in any case.
    `drop_until`: the student has a scaffold and gives it up over that share of the steps (edgekd.distill.scaffold).
    `teacher_validation_loss` and `teacher_validation_accuracy` are the teacher's cross entropy (in nats) and accuracy
    on the validation part, where they are known.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    task: TaskName = "text-classification"
    weight_decay: float = 0.01
    warmup: float = 0.05
    patience: int = 3
    seed: int = 17
    max_seconds: float | None = None
    max_examples: int | None = None
    temperature: Level = 4.0
    alpha: Level = 0.0
    final_ce_epoch: bool = False
    freeze_embeddings: bool = False
    layer_decay: float = 1.0
    precision: TrainingPrecision = "fp32"
    accumulation: int = 1
    drop_until: float | None = None
    loss: SoftLoss = "kl"
    hidden: HiddenTerm | None = None
    relations: RelationsTerm | None = None
    teacher_validation_loss: float | None = None
    teacher_validation_accuracy: float | None = None

    @property
    def features(self) -> bool:
        """Whether the teacher itself is needed, and not its answers alone."""
        return self.hidden is not None or self.relations is not None

    @property
    def guided(self) -> bool:
        """Whether the teacher has any part in the training."""
        return self.features or highest(self.alpha) > 0

    @property
    def of_student(self) -> bool:
        """Whether there is a teacher: in the training, or to be compared with."""
        return self.guided or self.teacher_validation_loss is not None


def check_numbers(settings: TrainingSettings) -> None:
    """Refuse numbers under which there is no training. Errors: InputError."""
    for name in ("epochs", "batch_size", "accumulation"):
        if getattr(settings, name) < 1:
            raise InputError(f"training: {name} is {getattr(settings, name)}, expected at least 1")
    if not (math.isfinite(settings.learning_rate) and settings.learning_rate > 0):
        raise InputError(f"training: learning_rate is {settings.learning_rate}, expected a number above 0")
    part = settings.batch_size // settings.accumulation
    if settings.task == "sentence-embedding" and part < LEAST_TEXTS:
        raise InputError(
            f"training: found parts of a step of {part} texts, expected at least {LEAST_TEXTS}: of two texts each has "
            "but one other, and nothing says which is nearer. Raise batch_size"
        )


def teacher_settings(fine_tune: FineTune, budget: Budget, task: TaskName) -> TrainingSettings:
    """The settings that teach the teacher its task: plain cross entropy."""
    return TrainingSettings(
        task=task,
        epochs=fine_tune.epochs,
        learning_rate=fine_tune.learning_rate,
        batch_size=fine_tune.batch_size,
        weight_decay=fine_tune.weight_decay,
        patience=fine_tune.patience,
        seed=fine_tune.seed,
        max_examples=fine_tune.max_examples,
        precision=fine_tune.precision,
        max_seconds=budget.training,
    )


def student_settings(distill: Distill, budget: Budget, task: TaskName) -> TrainingSettings:
    """The settings that distil a student, as far as the recipe says; it knows nothing of the teacher's loss.

    A student without a head has no labels: there is the teacher's part alone, at the temperature of similarities.
    """
    unlabelled = TASKS[task].head == "none"
    return TrainingSettings(
        task=task,
        epochs=distill.epochs,
        learning_rate=distill.learning_rate,
        batch_size=distill.batch_size,
        weight_decay=distill.weight_decay,
        warmup=distill.warmup,
        patience=distill.patience,
        seed=distill.seed,
        max_seconds=budget.training,
        temperature=distill.similarity_temperature if unlabelled else _level(distill.temperature),
        alpha=1.0 if unlabelled else _level(distill.alpha),
        final_ce_epoch=distill.final_ce_epoch and not unlabelled,
        freeze_embeddings=distill.freeze_embeddings,
        layer_decay=distill.layer_decay,
        precision=distill.precision,
        drop_until=None if distill.drop_layers is None else distill.drop_layers.until,
        loss=distill.loss,
        hidden=_hidden(distill),
        relations=_relations(distill),
    )


def _level(given: float | LevelSchedule) -> Level:
    if isinstance(given, LevelSchedule):
        return Schedule(given.first, given.last, given.shape, given.until)
    return given


def _hidden(distill: Distill) -> HiddenTerm | None:
    given = distill.hidden
    return None if given is None else HiddenTerm(_level(given.weight), _pairs(given.layers))


def _relations(distill: Distill) -> RelationsTerm | None:
    given = distill.relations
    return None if given is None else RelationsTerm(_level(given.weight), given.heads, _pairs(given.layers))


def _pairs(layers: str | list[list[int]]) -> Pairs | None:
    return None if isinstance(layers, str) else tuple((ours, its) for ours, its in layers)


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `loss` is the last step's, `accuracy` the last epoch's on the validation part."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. `validation_loss` is that of the labels alone; `train_loss` is what was minimised.

    `validation_accuracy` is the score of the task, a share: the accuracy where it has one. `by_loss`: epochs are ranked
    by their loss alone.

    `alpha` and `learning_rate` are those of its last step. `calibration_error` and `calibration_chance` are those of
    edgekd.distill.calibration, on the validation part. `scaffold` is how many layers that the student will not have
    worked in its last step; what is judged is the student without them in any case.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    alpha: float
    learning_rate: float
    calibration_error: float
    calibration_chance: float
    by_loss: bool = False
    scaffold: int = 0

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better: the score first, then the lower loss."""
        return (0.0 if self.by_loss else self.validation_accuracy, -self.validation_loss)


ForkReason = Literal["better", "no_better", "worse_calibrated"]


@dataclass(frozen=True)
class Fork:
    """What came of the last epoch on labels alone, `epoch`: kept or not, and why (see edgekd.distill.fork).

    Calibration errors are shares, on the validation part; `most_calibration_error` is what was allowed.
    """

    epoch: int
    kept: bool
    reason: ForkReason
    calibration_error_before: float
    calibration_error: float
    most_calibration_error: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training did. The model holds the weights of `best_epoch`.

    `fork` is what came of the last epoch on labels alone; None where there was none. Its record is the last of
    `history` whether it was kept or not.
    `seconds` is the time used, summed over all calls that took part. It differs from run to run, so `to_dict`
    leaves it out.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: Stopped
    seconds: float
    fork: Fork | None = None

    @property
    def best(self) -> EpochRecord:
        """The record of the epoch whose weights were kept."""
        return next(record for record in self.history if record.epoch == self.best_epoch)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that are equal for equal trainings."""
        return {
            "history": [_told(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "fork": None if self.fork is None else asdict(self.fork),
        }


def _told(record: EpochRecord) -> dict[str, Any]:
    told = asdict(record)
    del told["by_loss"]
    return told if record.scaffold else {name: value for name, value in told.items() if name != "scaffold"}


def best_of(history: tuple[EpochRecord, ...]) -> EpochRecord:
    """The epoch to keep: highest score, then lowest loss, then the earliest; see EpochRecord.rank.

    Any whose last step the student took alone comes before those that ended with a scaffold.
    """
    return max(history, key=lambda record: (record.scaffold == 0, record.rank))


def alone(history: tuple[EpochRecord, ...]) -> tuple[EpochRecord, ...]:
    """The epochs whose last step the student took without a scaffold."""
    return tuple(record for record in history if record.scaffold == 0)


def epochs_since_best(history: tuple[EpochRecord, ...]) -> int:
    """How many epochs have passed without a better one."""
    return len(history) - 1 - history.index(best_of(history))
