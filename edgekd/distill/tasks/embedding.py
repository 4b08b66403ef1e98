"""One vector for each text, judged by whether it finds the same texts near as the teacher's does. There are no labels.

The score is how often a text's nearest other text is the teacher's. It is one right or wrong answer for each text, so
that a verdict on it can be exact; and that it is what a search shows first. Of equal scores the lower loss counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from edgekd.distill.cache import cached_logits
from edgekd.distill.collate import TEACHER_LOGITS, model_inputs
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.features import EMBEDDING_PROJECTOR, projector_between
from edgekd.distill.fidelity import Fidelity
from edgekd.distill.losses.embeddings import embedding_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.shard_files import OnRows
from edgekd.distill.tasks.base import Answers, Asked, Task
from edgekd.errors import DataError, InputError, TeacherError
from edgekd.files import content_hash
from edgekd.pooling import embedded, pooling_of
from edgekd.retrieval import LEAST_TEXTS, agreement, nearest, pair_similarities
from edgekd.task import TaskName
from edgekd.teaching import SoftLoss

TEACHER_EMBEDDING = "teacher_embedding"
JUDGED_AT = 0.05  # the temperature of the loss that students are compared by, whatever they are taught at
LEAST_SPREAD = 1.0e-4  # of a teacher's cosines, our choice: below it all texts are the same to it


class Embedding(Task):
    """Sentence embeddings, distilled from the teacher's."""

    name: TaskName = "sentence-embedding"
    teacher_columns = (TEACHER_EMBEDDING,)
    truth_of_teacher = True

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        if len(dataset) < LEAST_TEXTS:
            raise DataError(
                f"training: found {len(dataset)} texts in the {name} part, expected at least {LEAST_TEXTS}: a text is "
                "judged by which of the others is nearest to it"
            )
        if TEACHER_EMBEDDING not in dataset.column_names:
            raise InputError(
                f"training: the {name} part has no column {TEACHER_EMBEDDING!r}, and without the teacher there is "
                "nothing to learn or to be judged by. Let the task add it (Task.cached)"
            )

    @override
    @contextmanager
    def taught(self, model: Any, train_set: datasets.Dataset) -> Iterator[None]:
        """Inside: a student of another width than its teacher's embeddings has a projector to that width."""
        feature = train_set.features[TEACHER_EMBEDDING]
        ours, its = int(model.config.hidden_size), int(feature.length)
        if ours == its:
            yield
            return
        model.add_module(EMBEDDING_PROJECTOR, projector_between(ours, its).to(next(model.parameters()).device))
        try:
            yield
        finally:
            delattr(model, EMBEDDING_PROJECTOR)

    @override
    def outputs(self, model: Any, batch: Mapping[str, Any]) -> Any:
        vectors = embedded(model, model_inputs(batch))
        projector = getattr(getattr(model, "module", model), EMBEDDING_PROJECTOR, None)
        return SimpleNamespace(embedding=vectors, projected=None if projector is None else projector(vectors))

    @override
    def hard_loss(self, outputs: Any, batch: Mapping[str, Any], normaliser: Normaliser) -> torch.Tensor:
        raise InputError("training: sentence embeddings have no labels, and found alpha 0, expected 1")

    @override
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
        if alpha != 1:
            raise InputError(f"training: sentence embeddings have no labels, and found alpha {alpha}, expected 1")
        its = batch[TEACHER_EMBEDDING]
        return embedding_loss(outputs.embedding, its, temperature, normaliser, projected=outputs.projected)

    @override
    def answers(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> Answers:
        """The nearest other text of each; the truth is the teacher's, or without its column the model's own."""
        own = predict_embeddings(model, dataset, batch_size, pad_token_id)
        its = own
        if TEACHER_EMBEDDING in dataset.column_names:
            its = np.asarray(dataset.with_format("numpy")[TEACHER_EMBEDDING][:], dtype=np.float32)
        found = nearest(own, its, JUDGED_AT)
        return Answers(found.losses, found.student, found.teacher, found.confidences, own)

    @override
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
        top_k: int = 0,
    ) -> datasets.Dataset:
        pooling = pooling_of(teacher.config)
        told = None if pooling is None else asdict(pooling)
        found = cached_logits(
            _AsLogits(teacher), dataset, folder, key=content_hash([key, told]), batch_size=batch_size,
            pad_token_id=pad_token_id, on_rows=on_rows,
        )  # fmt: skip
        return found.rename_column(TEACHER_LOGITS, TEACHER_EMBEDDING)

    @override
    def check_teacher(self, found: Answers, class_counts: NDArray[np.int64]) -> None:
        """Refuse a teacher to which all texts are the same. Errors: TeacherError."""
        spread = float(pair_similarities(_vectors(found)).std())
        if spread < LEAST_SPREAD:
            raise TeacherError(
                f"teacher: the cosines of its embeddings differ by {spread:.2g} on {len(found.answers)} validation "
                f"texts, expected at least {LEAST_SPREAD:.2g}: to it all texts are the same. Check that the model is a "
                "sentence encoder, and how it pools (teacher.pooling)"
            )

    @override
    def measures(self, own: Answers, its: Answers) -> dict[str, float]:
        return asdict(agreement(_vectors(own), _vectors(its)))

    @override
    def fidelity(self, own: Answers, its: Answers, class_counts: NDArray[np.int64], asked: Asked) -> Fidelity:
        """The nearest texts are the whole task: who finds the teacher's has learned it, so there is no warning."""
        return Fidelity(
            agreement=float((own.answers == its.answers).mean()),
            divergence=own.loss,
            calibration_error=None,
            teacher_calibration_error=None,
            warning=None,
        )


def predict_embeddings(
    model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
) -> NDArray[np.float32]:
    """The embeddings of `model`, in evaluation mode and without gradients, in the order of `dataset`.

    Shapes: [texts, width]. Errors: as edgekd.distill.evaluate.predict_logits.
    """
    return predict_logits(_AsLogits(model), dataset, batch_size, pad_token_id)


def _vectors(found: Answers) -> NDArray[np.float32]:
    if found.logits is None:
        raise AssertionError("the answers of a sentence encoder hold its embeddings")
    return found.logits


class _AsLogits(torch.nn.Module):
    """An encoder with its embedding where a classifier has its logits: asked, cached and checked by the same code."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.training = encoder.training

    @override
    def forward(self, **inputs: torch.Tensor) -> Any:
        return SimpleNamespace(logits=embedded(self.encoder, inputs))
