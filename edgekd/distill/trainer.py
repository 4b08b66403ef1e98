"""The training loop: transformers' Trainer with a loss that hears the teacher.

What is different from the stock Trainer, and why:
- The loss is divided by what has a label in the whole optimiser step, losses on features by its examples. The stock
  loop trusts any model whose forward takes `**kwargs` to do so, and would scale our loss by the accumulation steps
  otherwise.
- Columns the model does not know stay in the batch, or the teacher's logits would be dropped without a word.
- Evaluation is the loss of the labels alone and the score over all rows, comparable with any other model's. The stock
  loop averages batch means, which overweights a short last batch.
- Weights are saved and loaded tensor by tensor, with no renaming on the way, so that resuming is exact.
- Several processes take the very steps that one would take. The stock loop fills up the last batches with rows that
  were seen before, and lets a process find out alone that its loss is no number.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import safetensors
import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments
from typing_extensions import override

from edgekd.distill import processes
from edgekd.distill.checkpoints import WEIGHTS, load_weights, save_weights
from edgekd.distill.collate import LABELS, Collator
from edgekd.distill.features import EMBEDDING_PROJECTOR, PROJECTORS, FeatureTeacher
from edgekd.distill.held import held
from edgekd.distill.rates import parameter_groups
from edgekd.distill.schedule import Level, level_at
from edgekd.distill.sharding import ShardedTrainer
from edgekd.distill.shares import is_filler, share_loader
from edgekd.distill.tasks import task_of
from edgekd.errors import Diverged, InputError, StorageError
from edgekd.files import write_error
from edgekd.task import TaskName
from edgekd.teaching import SoftLoss, TrainingPrecision


class DistillationTrainer(ShardedTrainer):
    """Trains on the teacher's part where the batch has it, and on the labels alone where it has not; see `task`.

    The teacher itself is no part of it: only its answers are, so they can never end up in a checkpoint or optimiser.
    Where `features` are to be matched, too, it runs beside the student and is kept by them. A `temperature` or `alpha`
    that changes follows the number of steps done, of `schedule_steps` in all, else of those of this training.

    With `precision` bf16 the forward pass of a training step is one of mixed precision; weights, loss, optimiser and
    evaluation stay in float32.

    Errors: InputError when label smoothing is asked for, or FSDP in a form that edgekd.distill.sharding does not know;
    Diverged when the loss is no number.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        train_dataset: datasets.Dataset,
        eval_dataset: datasets.Dataset | None = None,
        task: TaskName = "text-classification",
        temperature: Level = 4.0,
        alpha: Level = 0.0,
        loss: SoftLoss = "kl",
        features: FeatureTeacher | None = None,
        schedule_steps: int | None = None,
        layer_decay: float = 1.0,
        precision: TrainingPrecision = "fp32",
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
        if (features is not None and hasattr(model, PROJECTORS)) or hasattr(model, EMBEDDING_PROJECTOR):
            # Projectors are used outside the student's forward, where DistributedDataParallel would not look for them.
            args.ddp_find_unused_parameters = False
        super().__init__(
            model,
            args,
            data_collator=Collator(pad_token_id),
            train_dataset=held(train_dataset),
            eval_dataset=eval_dataset,
            **others,
        )
        # Makes the loop count the examples of a step for every model, not only for those whose forward takes **kwargs.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.task = task_of(task)
        self.temperature = temperature
        self.alpha = alpha
        self.layer_decay = layer_decay
        self.precision = precision
        self.loss = loss
        self.features = features
        self.schedule_steps = schedule_steps
        self.pad_token_id = pad_token_id
        self.step_loss = 0.0
        self._examples: int | None = None
        self._loss_of_step = -1

    @override
    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process."""
        if self.args.world_size == 1:
            made: DataLoader[Any] = super().get_train_dataloader()
            return made
        return share_loader(
            self.train_dataset,
            self._get_train_sampler(),
            Collator(self.pad_token_id),
            part_rows=self.args.per_device_train_batch_size * self.args.world_size,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            rank=self.args.process_index,
            count=self.args.world_size,
            pin_memory=self.args.dataloader_pin_memory,
        )

    @override
    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The parts of an optimiser step, and the units that have a label in all of them and all processes."""
        parts, units = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.features is not None and parts:
            self._examples = processes.sum_of_all(sum(self._rows_that_count(part) for part in parts))
        return parts, units

    def _rows_that_count(self, part: dict[str, Any]) -> int:
        filler = self.args.world_size > 1 and is_filler(part[LABELS])
        return 0 if filler else len(next(iter(part.values())))

    @override
    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser of the arguments, with a rate for each layer where `layer_decay` is not 1."""
        if self.layer_decay == 1 or self.optimizer is not None:
            made: torch.optim.Optimizer = super().create_optimizer(model)
            return made
        trained: Any = self.model if model is None else model
        groups = parameter_groups(
            trained,
            learning_rate=self.args.learning_rate,
            layer_decay=self.layer_decay,
            weight_decay=self.args.weight_decay,
            decayed=set(self.get_decay_parameter_names(trained)),
        )
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
        self.optimizer = kind(groups, **options)
        return self.optimizer

    @override
    def compute_loss_context_manager(self) -> ExitStack:
        """Where the loss of a training step is computed: under autocast, with `precision` bf16."""
        around: ExitStack = super().compute_loss_context_manager()
        if self.precision == "bf16":
            around.enter_context(torch.autocast(self.args.device.type, dtype=torch.bfloat16))
        return around

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
            outputs = self.task.outputs(model, inputs)
        taught = all(name in inputs for name in self.task.teacher_columns)
        alpha = level_at(self.alpha, step, steps)
        if not taught or alpha == 0 or not model.training:
            loss = self.task.hard_loss(outputs, inputs, num_items_in_batch)
        else:
            loss = self.task.soft_loss(
                outputs,
                inputs,
                temperature=level_at(self.temperature, step, steps),
                alpha=alpha,
                normaliser=num_items_in_batch,
                loss=self.loss,
            )
        if features is not None and seen is not None:
            loss = loss + features.loss(seen, inputs, step, steps, self._examples)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The count is over all processes, and their gradients are averaged.
            loss = loss * self.accelerator.num_processes
        if self.args.world_size > 1 and is_filler(inputs[LABELS]):
            loss = loss * 0.0
        return (loss, outputs) if return_outputs else loss

    @override
    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The loss of one part of a step, after its backward pass. Errors: Diverged when it is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        step = self.state.global_step + 1
        value = processes.mean_of_all(loss.item())
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
        """Loss of the labels alone, score and calibration over all rows of `eval_dataset` (else those of the start).

        Of several processes the first one computes them for all.
        """
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        with self.whole():
            found = processes.done_by_first(lambda: self._measured(rows))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measured(self, rows: Any) -> dict[str, float]:
        found = self.task.answers(self.model, rows, self.args.eval_batch_size, self.pad_token_id)
        calibrated = found.calibration
        return {
            "loss": found.loss,
            "accuracy": self.task.score(found),
            "calibration_error": calibrated.error,
            "calibration_chance": calibrated.chance,
        }

    @property
    def _home(self) -> Path:
        return Path(str(self.args.output_dir))

    @override
    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            with self.whole():
                super()._save_checkpoint(model, trial)
        except OSError as error:
            raise write_error(self._home, error) from None
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise StorageError(f"{self._home}: the checkpoint cannot be written ({error})") from None

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save:
            save_weights(self.model, (Path(output_dir) if output_dir else self._home) / WEIGHTS)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint) / WEIGHTS)
