"""What a training has to know of its task: the losses, what a model answers, and how good that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.cache import LOGITS, Question, cached_answers
from edgekd.distill.calibration import Calibration, calibration_of
from edgekd.distill.collate import LABELS, model_inputs
from edgekd.distill.evaluate import check_teacher
from edgekd.distill.fidelity import Fidelity
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.shard_files import OnRows
from edgekd.distill.top_k import TOP_K
from edgekd.task import TASKS, TaskName, TaskWords
from edgekd.teaching import SoftLoss


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers to a data set, one entry for each unit that the task judges: an example, or a part of it.

    Shapes: everything is [units]; `logits` [units, classes], None where that would be too large to hold.
    Units: `losses` are in nats, `confidences` the probabilities of the answers.
    """

    losses: NDArray[np.float64]
    answers: NDArray[np.int64]
    truth: NDArray[np.int64]
    confidences: NDArray[np.float64]
    logits: NDArray[np.float32] | None = None

    @property
    def loss(self) -> float:
        """The mean loss of the labels alone."""
        return float(self.losses.mean())

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are true."""
        found: NDArray[np.bool_] = self.answers == self.truth
        return found

    @property
    def calibration(self) -> Calibration:
        """How far the confidences are from how often the answers are right."""
        return calibration_of(self.confidences, self.right)


@dataclass(frozen=True)
class Asked:
    """A student, its teacher, and the data set that both were asked about."""

    student: Any
    teacher: Any
    dataset: datasets.Dataset
    batch_size: int
    pad_token_id: int | None


class Task(ABC):
    """One task; its methods keep nothing, so one instance serves all trainings.

    `teacher_columns` are the columns of a data set in which the teacher's part of the loss stands. With
    `truth_of_teacher` answers are judged by what the teacher says, so that the validation part needs them, too.
    """

    name: TaskName
    teacher_columns: tuple[str, ...] = ("teacher_logits",)
    truth_of_teacher: bool = False
    most_judges: int = 500  # validation examples that judge how a student starts, our choice

    @property
    def words(self) -> TaskWords:
        """The task in words."""
        return TASKS[self.name]

    @abstractmethod
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        """Refuse the part `name` of a data set that `model` cannot be trained or judged on. Errors: DataError."""

    @contextmanager
    def taught(self, model: Any, train_set: datasets.Dataset) -> Iterator[None]:
        """Inside: `model` has what only its training needs. After: it is as it was, but for its weights."""
        del model, train_set
        yield

    def outputs(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """What `model` makes of a batch in training, for the losses."""
        return model(**model_inputs(batch))

    @abstractmethod
    def hard_loss(self, outputs: Any, batch: Mapping[str, Any], normaliser: Normaliser) -> torch.Tensor:
        """The loss of the labels alone, summed over the units and divided by `normaliser` (else by the units)."""

    @abstractmethod
    def soft_loss(
        self,
        outputs: Any,
        batch: Mapping[str, Any],
        *,
        temperature: float,
        alpha: float,
        normaliser: Normaliser,
        loss: SoftLoss,
    ) -> torch.Tensor:
        """`alpha` times the teacher's part, plus (1 - `alpha`) times the loss of the labels."""

    @abstractmethod
    def answers(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> Answers:
        """What `model` answers, in evaluation mode; the model is left in the mode it was in. Errors: Diverged."""

    def score(self, found: Answers) -> float:
        """How good the answers are, from 0 to 1: the share of units that are right, unless a task has a better one."""
        return float(found.right.mean())

    def ranked_by_loss(self) -> bool:
        """Whether the epoch of the lowest loss is kept, and not that of the best score."""
        return False

    def first_loss(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> float:
        """What an untrained student is worth: its loss, without regard to how loudly it says what it knows [nats]."""
        return self.answers(model, dataset, batch_size, pad_token_id).loss

    def question(self, top_k: int) -> Question:  # noqa: ARG002  for tasks of which all answers would be too many
        """What the teacher is asked for; `top_k` answers of a task that has too many to keep them all."""
        return LOGITS

    def cached(
        self,
        teacher: Any,
        dataset: datasets.Dataset,
        folder: Path,
        *,
        key: str,
        batch_size: int,
        pad_token_id: int | None,
        on_rows: OnRows | None,
        top_k: int = TOP_K,
    ) -> datasets.Dataset:
        """`dataset` with the teacher's part as columns, asked once. `top_k`: see `question`.

        Errors: as edgekd.distill.cache.cached_answers.
        """
        return cached_answers(
            teacher, dataset, folder, self.question(top_k), key=key, batch_size=batch_size, pad_token_id=pad_token_id,
            on_rows=on_rows,
        )  # fmt: skip

    def class_counts(self, dataset: datasets.Dataset, classes: int) -> NDArray[np.int64]:
        """The units of each class. Shapes: [classes]."""
        return np.bincount(np.asarray(dataset.with_format("numpy")[LABELS][:]), minlength=classes)

    def check_teacher(self, found: Answers, class_counts: NDArray[np.int64]) -> None:
        """Refuse a teacher that has not learned the task. Errors: TeacherError."""
        check_teacher(found.truth, found.answers, class_counts)

    def measures(self, own: Answers, its: Answers) -> dict[str, float]:
        """What else there is to tell of a student that answered `own`, beside its score; shares unless named else."""
        del own, its
        return {}

    @abstractmethod
    def fidelity(self, own: Answers, its: Answers, class_counts: NDArray[np.int64], asked: Asked) -> Fidelity:
        """How faithful a student that answered `own` is to its teacher, which answered `its`."""
