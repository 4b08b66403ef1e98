"""How to train, what is told on the way, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekd.distill.schedule import Level, Schedule, highest
from edgekd.recipe import Budget, Distill, FineTune
from edgekd.teaching import LevelSchedule, SoftLoss

Stopped = Literal["finished", "early", "budget"]
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
    """One training: AdamW, cosine schedule, `warmup` as a share of the steps, evaluation after every epoch.

    `batch_size` examples make one step, taken in `accumulation` parts. `alpha` 0 is plain cross entropy, else `loss` is
    the teacher's part; `hidden` and `relations` are added to both. `final_ce_epoch`, where the teacher has a part, adds
    an epoch of plain cross entropy that starts from the best weights.
    """

    epochs: int
    learning_rate: float
    batch_size: int
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
    accumulation: int = 1
    loss: SoftLoss = "kl"
    hidden: HiddenTerm | None = None
    relations: RelationsTerm | None = None

    @property
    def features(self) -> bool:
        """Whether the teacher itself is needed, and not its answers alone."""
        return self.hidden is not None or self.relations is not None

    @property
    def guided(self) -> bool:
        """Whether the teacher has any part in the training."""
        return self.features or highest(self.alpha) > 0


def teacher_settings(fine_tune: FineTune, budget: Budget) -> TrainingSettings:
    """The settings that teach the teacher its task: plain cross entropy."""
    return TrainingSettings(
        epochs=fine_tune.epochs,
        learning_rate=fine_tune.learning_rate,
        batch_size=fine_tune.batch_size,
        weight_decay=fine_tune.weight_decay,
        patience=fine_tune.patience,
        seed=fine_tune.seed,
        max_examples=fine_tune.max_examples,
        max_seconds=budget.training,
    )


def student_settings(distill: Distill, budget: Budget) -> TrainingSettings:
    """The settings that distil a student."""
    return TrainingSettings(
        epochs=distill.epochs,
        learning_rate=distill.learning_rate,
        batch_size=distill.batch_size,
        weight_decay=distill.weight_decay,
        warmup=distill.warmup,
        patience=distill.patience,
        seed=distill.seed,
        max_seconds=budget.training,
        temperature=_level(distill.temperature),
        alpha=_level(distill.alpha),
        final_ce_epoch=distill.final_ce_epoch,
        freeze_embeddings=distill.freeze_embeddings,
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
    """One epoch. `validation_loss` is plain cross entropy; `train_loss` is what was minimised.

    `alpha` and `learning_rate` are those of its last step.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    alpha: float
    learning_rate: float

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better: accuracy first, then the lower cross entropy."""
        return (self.validation_accuracy, -self.validation_loss)


@dataclass(frozen=True)
class TrainingResult:
    """What a training did. The model holds the weights of `best_epoch`.

    `seconds` is the time used, summed over all calls that took part. It differs from run to run, so `to_dict`
    leaves it out.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: Stopped
    seconds: float

    @property
    def best(self) -> EpochRecord:
        """The record of the epoch whose weights were kept."""
        return next(record for record in self.history if record.epoch == self.best_epoch)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that are equal for equal trainings."""
        return {
            "history": [asdict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
        }


def best_of(history: tuple[EpochRecord, ...]) -> EpochRecord:
    """The epoch to keep: highest accuracy, then lowest cross entropy, then the earliest."""
    return max(history, key=lambda record: record.rank)


def epochs_since_best(history: tuple[EpochRecord, ...]) -> int:
    """How many epochs have passed without a better one."""
    return len(history) - 1 - history.index(best_of(history))
