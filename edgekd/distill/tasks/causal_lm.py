"""The next token of running text: language models, distilled from the most probable tokens of their teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from edgekd.distill.cache import Question
from edgekd.distill.collate import IGNORED, LABELS
from edgekd.distill.evaluate import STANDARD_ERRORS
from edgekd.distill.fidelity import Fidelity
from edgekd.distill.language import perplexity, token_answers, token_counts, token_divergence
from edgekd.distill.losses import hard_target_loss, truncated_kl_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.tasks.base import Answers, Asked, Task
from edgekd.distill.top_k import (
    COLUMNS,
    TEACHER_IDS,
    TEACHER_LOG_PROBABILITIES,
    TEACHER_LOG_TAIL,
    top_k_question,
)
from edgekd.errors import DataError, InputError, TeacherError
from edgekd.teaching import SoftLoss


class CausalLm(Task):
    """Cross entropy of the next token. The label at a place is the token there, predicted from those before it.

    Epochs are ranked by their loss: perplexity is what language models are judged by, and counts every token, while the
    share of right tokens changes by little.
    """

    name = "causal-lm"
    teacher_columns = COLUMNS
    most_judges = 64

    @override
    def check_labels(self, model: Any, dataset: datasets.Dataset, name: str) -> None:
        vocabulary = int(model.config.vocab_size)
        for rows in dataset.select_columns(["input_ids", LABELS]).with_format("numpy").iter(batch_size=1000):
            for ids, labels in zip(rows["input_ids"], rows[LABELS], strict=True):
                if np.shape(ids) != np.shape(labels):
                    raise DataError(f"training: found {len(ids)} tokens with {len(labels)} labels in the {name} part")
                if min(ids) < 0 or max(ids) >= vocabulary or max(labels) >= vocabulary:
                    raise DataError(
                        f"training: found tokens {min(ids)} to {max(*ids, *labels)} in the {name} part, expected 0 to "
                        f"{vocabulary - 1}, as many as the model knows. Use the tokenizer of the model"
                    )
        if not token_counts(dataset, vocabulary).sum():
            raise DataError(f"training: the {name} part asks for no token, expected documents of two and more")

    @override
    def hard_loss(self, outputs: Any, batch: Mapping[str, Any], normaliser: Normaliser) -> torch.Tensor:
        return hard_target_loss(outputs.logits[:, :-1], batch[LABELS][:, 1:], normaliser)

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
        if temperature != 1 or loss != "kl":
            raise InputError(
                f"distillation: found the temperature {temperature} and the loss {loss}, expected 1 and kl: of a "
                "language model as a teacher only the most probable tokens are kept, which tell nothing else"
            )
        logits, labels = outputs.logits[:, :-1], batch[LABELS][:, 1:]
        shape = labels.shape
        soft = truncated_kl_loss(
            logits,
            batch[TEACHER_IDS].reshape(*shape, -1),
            batch[TEACHER_LOG_PROBABILITIES].reshape(*shape, -1),
            normaliser,
            mask=labels != IGNORED,
            log_tail=batch[TEACHER_LOG_TAIL],
        )
        if alpha == 1:
            return soft
        return alpha * soft + (1 - alpha) * hard_target_loss(logits, labels, normaliser)

    @override
    def answers(
        self, model: Any, dataset: datasets.Dataset, batch_size: int, pad_token_id: int | None = None
    ) -> Answers:
        found = token_answers(model, dataset, batch_size, pad_token_id)
        return Answers(found.losses, found.answers, found.truth, found.confidences)

    @override
    def ranked_by_loss(self) -> bool:
        return True

    @override
    def question(self, top_k: int) -> Question:
        return top_k_question(top_k)

    @override
    def class_counts(self, dataset: datasets.Dataset, classes: int) -> NDArray[np.int64]:
        """How often each token is asked for. Shapes: [tokens of the vocabulary that occur, at least `classes`]."""
        largest = max(int(np.max(rows[LABELS])) for rows in dataset.with_format("numpy").iter(batch_size=1000))
        return token_counts(dataset, max(largest + 1, classes))

    @override
    def check_teacher(self, found: Answers, class_counts: NDArray[np.int64]) -> None:
        """Refuse a teacher that predicts no better than the frequencies of single tokens. Errors: TeacherError."""
        unigram, needed = unigram_bar(found, class_counts)
        if found.loss >= needed:
            reached, base = perplexity(found.losses), math.exp(unigram)
            raise TeacherError(
                f"teacher: perplexity {reached:.1f} on {len(found.losses)} validation tokens, expected less than "
                f"{math.exp(needed):.1f} (the frequencies of single tokens alone give {base:.1f}). A student cannot "
                "learn from it: train the teacher longer, or check that it goes with its tokenizer"
            )

    @override
    def fidelity(self, own: Answers, its: Answers, class_counts: NDArray[np.int64], asked: Asked) -> Fidelity:
        return Fidelity(
            agreement=float((own.answers == its.answers).mean()),
            divergence=token_divergence(
                asked.student, asked.teacher, asked.dataset, asked.batch_size, asked.pad_token_id
            ),
            calibration_error=own.calibration.error,
            teacher_calibration_error=its.calibration.error,
            warning=_warning(own, class_counts),
        )


def unigram_bar(found: Answers, counts: NDArray[np.int64]) -> tuple[float, float]:
    """The loss of the training part's token frequencies on the tokens asked for, and that minus 3 standard errors.

    One is added to each count, so that no token is impossible; the error is that of the paired difference. Units: nats.
    """
    size = max(len(counts), int(found.truth.max()) + 1)
    known = np.zeros(size)
    known[: len(counts)] = counts
    losses = -np.log((known + 1) / (known.sum() + size))[found.truth]
    error = float((losses - found.losses).std()) / math.sqrt(len(losses))
    return float(losses.mean()), float(losses.mean()) - STANDARD_ERRORS * error


def _warning(own: Answers, class_counts: NDArray[np.int64]) -> str | None:
    unigram, needed = unigram_bar(own, class_counts)
    if own.loss < needed:
        return None
    return (
        f"its perplexity is {perplexity(own.losses):.1f}, hardly less than the frequencies of single tokens give "
        f"({math.exp(unigram):.1f}): it does not use what stands before. Train longer, or lower distill.alpha"
    )
