"""The training loop: transformers' Trainer with a loss that hears the teacher.

What is different from the stock Trainer, and why:
- The loss is divided by the examples of the whole optimiser step. The stock loop trusts any model whose forward takes
  `**kwargs` to do so, and would scale our loss by the accumulation steps otherwise.
- Columns the model does not know stay in the batch, or the teacher's logits would be dropped without a word.
- Evaluation is plain cross entropy and accuracy over all rows, comparable with any other model's. The stock loop
  averages batch means, which overweights a short last batch.
- Weights are saved and loaded tensor by tensor, with no renaming on the way, so that resuming is exact.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import safetensors
import torch
from transformers import PrinterCallback, Trainer, TrainingArguments
from typing_extensions import override

from edgekd.distill.checkpoints import WEIGHTS, load_weights, save_weights
from edgekd.distill.collate import LABELS, TEACHER_LOGITS, Collator, model_inputs
from edgekd.distill.evaluate import accuracy, cross_entropy, predict_logits
from edgekd.distill.features import FeatureTeacher
from edgekd.distill.losses import distillation_loss, hard_target_loss
from edgekd.distill.schedule import Level, level_at
from edgekd.errors import Diverged, InputError, StorageError
from edgekd.files import write_error
from edgekd.teaching import SoftLoss


class DistillationTrainer(Trainer):
    """Trains on `teacher_logits` where the batch has them, and with plain cross entropy where it has not.

    The teacher itself is no part of it: only its answers are, so they can never end up in a checkpoint or optimiser.
    Where `features` are to be matched, too, it runs beside the student and is kept by them. A `temperature` or `alpha`
    that changes follows the number of steps done, of `schedule_steps` in all, else of those of this training.

    Errors: InputError when label smoothing is asked for; Diverged when the loss is no number.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        train_dataset: datasets.Dataset,
        eval_dataset: datasets.Dataset | None = None,
        temperature: Level = 4.0,
        alpha: Level = 0.0,
        loss: SoftLoss = "kl",
        features: FeatureTeacher | None = None,
        schedule_steps: int | None = None,
        pad_token_id: int | None = None,
        **others: Any,
    ) -> None:
        if args.label_smoothing_factor != 0:
            raise InputError(
                f"training: found label_smoothing_factor {args.label_smoothing_factor}, expected 0: "
                "smoothed labels teach a student less, and the teacher's logits are soft already"
            )
        args.remove_unused_columns = False
        args.label_names = [LABELS]
        if features is not None:
            # Projectors are used outside the student's forward, where DistributedDataParallel would not look for them.
            args.ddp_find_unused_parameters = False
        super().__init__(
            model,
            args,
            data_collator=Collator(pad_token_id),
            train_dataset=train_dataset.with_format("numpy"),
            eval_dataset=eval_dataset,
            **others,
        )
        # Makes the loop count the examples of a step for every model, not only for those whose forward takes **kwargs.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.temperature = temperature
        self.alpha = alpha
        self.loss = loss
        self.features = features
        self.schedule_steps = schedule_steps
        self.pad_token_id = pad_token_id
        self.step_loss = 0.0
        self._loss_of_step = -1

    @override
    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of one part of an optimiser step, and the model's outputs when `return_outputs`."""
        features = self.features if model.training else None
        step, steps = self.state.global_step, self.schedule_steps or self.state.max_steps
        with features.watching(step, steps) if features is not None else nullcontext() as seen:
            outputs = model(**model_inputs(inputs))
        labels, teacher = inputs[LABELS], inputs.get(TEACHER_LOGITS)
        alpha = level_at(self.alpha, step, steps)
        if teacher is None or alpha == 0 or not model.training:
            loss = hard_target_loss(outputs.logits, labels, num_items_in_batch)
        else:
            loss = distillation_loss(
                outputs.logits,
                teacher,
                labels,
                temperature=level_at(self.temperature, step, steps),
                alpha=alpha,
                normaliser=num_items_in_batch,
            )
        if features is not None and seen is not None:
            loss = loss + features.loss(seen, inputs, step, steps, num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The count is over all processes, and their gradients are averaged.
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    @override
    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of one part of a step, after its backward pass. Errors: Diverged when it is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        step = self.state.global_step + 1
        value = loss.item()
        if not np.isfinite(value):
            rate = self._get_learning_rate()
            raise Diverged(
                f"training: the loss is {value} at step {step} with learning rate {rate:.3g}, expected a number. "
                "Lower the learning rate, or check the data for NaN"
            )
        self.step_loss = value if step != self._loss_of_step else self.step_loss + value
        self._loss_of_step = step
        return loss

    @override
    def evaluate(
        self,
        eval_dataset: datasets.Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Plain cross entropy and accuracy over all rows of `eval_dataset` (else the one given at the start)."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        logits = predict_logits(self.model, rows, self.args.eval_batch_size, self.pad_token_id)
        labels = np.asarray(rows.with_format("numpy")[LABELS][:])
        metrics = {
            f"{metric_key_prefix}_loss": cross_entropy(logits, labels),
            f"{metric_key_prefix}_accuracy": accuracy(logits, labels),
        }
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @property
    def _home(self) -> Path:
        return Path(str(self.args.output_dir))

    @override
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except OSError as error:
            raise write_error(self._home, error) from None
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise StorageError(f"{self._home}: the checkpoint cannot be written ({error})") from None

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        save_weights(self.model, (Path(output_dir) if output_dir else self._home) / WEIGHTS)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint) / WEIGHTS)
