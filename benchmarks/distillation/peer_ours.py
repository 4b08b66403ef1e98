"""edgekd's way to distil, for peer_worker.py: its lesson and its trainer, for a fixed number of steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from edgekd.distill.collate import TEACHER_LOGITS, model_inputs
from edgekd.distill.phase import training_arguments
from edgekd.distill.settings import student_settings
from edgekd.distill.train import prepared
from edgekd.distill.trainer import DistillationTrainer
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import lesson
from edgekd.recipe import load_recipe


class OnlineTrainer(DistillationTrainer):
    """Asks the teacher in every step, instead of reading what it answered once."""

    teacher: Any = None

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of the trainer, with the answers of now."""
        with torch.no_grad():
            answers = self.teacher(**model_inputs(inputs)).logits
        return super().compute_loss(model, inputs | {TEACHER_LOGITS: answers}, return_outputs, num_items_in_batch)


def distil(job: Any, *, online: bool) -> None:
    """Train the student of `job` to its last step, without looking at the validation part."""
    context = Context(load_recipe(job.recipe, job.overrides), Path(job.root), Path.cwd())
    taught = lesson(context, None)
    settings = replace(
        student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task), seed=job.seed
    )
    examples = taught.train.remove_columns(TEACHER_LOGITS) if online else taught.train
    with prepared(job.student, settings):
        trainer = (OnlineTrainer if online else DistillationTrainer)(
            job.student,
            training_arguments(
                job.folder / "edgekd", settings, max_steps=job.steps, learning_rate=settings.learning_rate,
                seed=settings.seed, data_seed=settings.seed, warmup_steps=job.warmup_steps, lr_scheduler_type="cosine",
                eval_strategy="no", save_strategy="no", logging_strategy="no",
            ),
            train_dataset=examples, temperature=settings.temperature, alpha=settings.alpha, pad_token_id=taught.pad,
        )  # fmt: skip
        if isinstance(trainer, OnlineTrainer):
            trainer.teacher = taught.teacher
        trainer.train()
