"""One way to train, in a process of its own, for benchmarks/distillation/peers.py.

    python benchmarks/distillation/peer_worker.py METHOD JOB

It needs torch, transformers and numpy, and the library whose way it is: each may have an environment of its own. JOB is
a folder that peers.py wrote. It reads lines and answers each with one line of JSON: `train N` trains N optimiser steps
and gives their seconds, `answers` gives what the student says of the test part after its last step. Between the lines
it stands still, in the midst of its training, so that several of them can be timed in turns.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, Dataset, RandomSampler
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    get_cosine_schedule_with_warmup,
)

Batch = dict[str, torch.Tensor]


class Turns:
    """Lets `steps` optimiser steps pass as they are asked for, of whatever loop makes them."""

    def __init__(self, steps: int, commands: Any, replies: Any) -> None:
        self.to_come = steps
        self._commands, self._replies = commands, replies
        self._left, self._begun = 0, 0.0
        self.hook = register_optimizer_step_post_hook(self._stepped)  # of every optimiser in this process

    def say(self, **reply: Any) -> None:
        """One line of JSON."""
        self._replies.write(json.dumps(reply) + "\n")
        self._replies.flush()

    def wait(self) -> str:
        """The next command: `answers`, or `train` when the next steps may be made. Leaves when there is no more."""
        words = self._commands.readline().split()
        if not words:
            raise SystemExit
        if words[0] == "train":
            self._left, self._begun = int(words[1]), time.perf_counter()
        return str(words[0])

    def _stepped(self, *_: Any) -> None:
        self._left -= 1
        self.to_come -= 1
        if self._left == 0:
            self.say(seconds=time.perf_counter() - self._begun)
            if self.to_come:
                self.wait()


class Rows(Dataset[Batch]):
    """Examples in memory: per column all values in one array, and where each row of it begins."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        self.labels = torch.from_numpy(stored["labels"])
        self._columns: dict[str, list[torch.Tensor]] = {"labels": list(self.labels)}
        for name in stored["columns"].tolist():
            values = torch.from_numpy(stored[name])
            bounds = stored.get(f"{name}/bounds")
            self._columns[name] = list(values) if bounds is None else list(torch.tensor_split(values, bounds.tolist()))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return {name: values[index] for name, values in self._columns.items()}


class Collate:
    """Rows to a batch, token sequences padded to its longest."""

    def __init__(self, pad: int | None) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[Mapping[str, torch.Tensor]]) -> Batch:
        batch = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            fill = (self._pad or 0) if name == "input_ids" else 0
            alike = len({value.shape for value in values}) == 1
            batch[name] = torch.stack(values) if alike else pad_sequence(values, True, fill)
        return batch


class Job:
    """What all methods have in common: data, models and settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.collate = Collate(self.settings["pad"])
        self.student = self._model("student")
        if self.settings["freeze_embeddings"]:
            freeze_embeddings(self.student)

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["settings"][name]

    def rows(self, part: str) -> Rows:
        """The examples of `part`, train or test."""
        return Rows(self.folder / f"{part}.npz")

    def teacher(self) -> Any:
        """The teacher, in evaluation mode."""
        return self._model("teacher").requires_grad_(requires_grad=False)

    def _model(self, name: str) -> Any:
        kind = AutoModelForImageClassification if self.settings["images"] else AutoModelForSequenceClassification
        return kind.from_pretrained(self.folder / name).eval()

    def loader(self) -> DataLoader[Batch]:
        """Batches of the training part, in a new order every epoch."""
        rows = self.rows("train")
        sampler = RandomSampler(rows, generator=torch.Generator().manual_seed(self.seed))
        return DataLoader(rows, self.batch_size, sampler=sampler, collate_fn=self.collate)

    def optimiser(self, model: Any) -> torch.optim.AdamW:
        """AdamW with the groups of transformers' Trainer."""
        return torch.optim.AdamW(parameter_groups(model, self.weight_decay), lr=self.learning_rate, fused=True)

    def answers(self) -> list[int]:
        """What the student says of each example of the test part."""
        found: list[int] = []
        self.student.eval()
        with torch.inference_mode():
            for batch in DataLoader(self.rows("test"), 64, collate_fn=self.collate):
                del batch["labels"]
                found += self.student(**batch).logits.argmax(dim=-1).tolist()
        return found


def freeze_embeddings(model: Any) -> None:
    """Keep the embedding tables as they are, as edgekd's freeze_embeddings does."""
    for part in model.base_model.embeddings.modules():
        if isinstance(part, torch.nn.Embedding):
            part.requires_grad_(requires_grad=False)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights, which decay, and biases and norms, which do not; only what is trained."""
    norms = {
        id(parameter)
        for part in model.modules()
        if isinstance(part, torch.nn.LayerNorm)
        for parameter in part.parameters()
    }
    decayed: list[torch.nn.Parameter] = []
    kept: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (kept if id(parameter) in norms or name.endswith("bias") else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def plain(job: Job) -> None:
    """The stock Trainer, without a teacher."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(job.folder / "plain"),
        max_steps=job.steps,
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        weight_decay=job.weight_decay,
        warmup_steps=job.warmup_steps,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        seed=job.seed,
        data_seed=job.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    Trainer(job.student, arguments, train_dataset=job.rows("train"), data_collator=job.collate).train()


def textbrewer(job: Job, *, caching: bool = False) -> None:
    """TextBrewer's distillers: the general one with the teacher in every step, or the basic one that keeps its logits.

    Its soft loss is a cross entropy without T², so that its weight is alpha T² for the gradients of the common loss. It
    caches whole batches: they are the same in every epoch, in another order.
    """
    library: Any = importlib.import_module("textbrewer")
    distiller = (library.BasicDistiller if caching else library.GeneralDistiller)(
        train_config=library.TrainingConfig(
            device="cpu",
            output_dir=str(job.folder / "textbrewer"),
            ckpt_steps=job.steps,
            ckpt_epoch_frequency=job.epochs,
        ),
        distill_config=library.DistillationConfig(
            temperature=job.temperature,
            kd_loss_weight=job.alpha * job.temperature**2,
            hard_label_weight=1 - job.alpha,
            is_caching_logits=caching,
        ),
        model_T=job.teacher(),
        model_S=job.student,
        adaptor_T=lambda _batch, outputs: {"logits": outputs.logits},
        adaptor_S=lambda _batch, outputs: {"logits": outputs.logits, "losses": outputs.loss},
    )
    with distiller:
        distiller.train(
            job.optimiser(job.student),
            job.loader(),
            scheduler_class=get_cosine_schedule_with_warmup,
            scheduler_args={"num_warmup_steps": job.warmup_steps, "num_training_steps": job.steps},
            max_grad_norm=1.0,
            **({"num_epochs": job.epochs} if caching else {"num_steps": job.steps}),
        )


def textbrewer_cached(job: Job) -> None:
    """TextBrewer with the teacher's logits kept in memory."""
    textbrewer(job, caching=True)


class Pairs(Dataset[tuple[Batch, torch.Tensor]]):
    """Examples as torchdistill takes them: inputs and target."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Batch, torch.Tensor]:
        row = self._rows[index]
        return row, row.pop("labels")


def torchdistill(job: Job) -> None:
    """torchdistill's box with its loss of Hinton et al., in the loop of its examples.

    Its alpha is the weight of the labels.
    """
    with torchvision_or_a_placeholder():
        box_of: Any = importlib.import_module("torchdistill.core.distillation").DistillationBox
        data: Any = importlib.import_module("torchdistill.datasets.registry")
        optim: Any = importlib.import_module("torchdistill.optim.registry")

    def collate(rows: Sequence[Any]) -> tuple[Batch, torch.Tensor, dict[str, Any]]:
        return job.collate([row for row, _, _ in rows]), torch.stack([label for _, label, _ in rows]), {}

    data.register_collate_func(collate, key="rows")
    optim.register_optimizer(job.optimiser, key="grouped")
    optim.register_scheduler(get_cosine_schedule_with_warmup, key="cosine")
    side = {"forward_proc": "forward_batch_only_as_kwargs", "forward_hook": {"input": [], "output": ["classifier"]}}
    where = {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in HEAD.items()}
    soft = {"key": "KDLoss", "kwargs": where | {"temperature": job.temperature, "alpha": 1 - job.alpha}}
    box = box_of(
        job.teacher(), job.student, {"train": Pairs(job.rows("train"))},
        {
            "num_epochs": job.epochs,
            "train_data_loader": {
                "dataset_id": "train", "collate_fn": "rows", "kwargs": {"batch_size": job.batch_size},
                "sampler": {
                    "class_or_func": RandomSampler,
                    "kwargs": {"generator": torch.Generator().manual_seed(job.seed)},
                },
            },
            "teacher": {**side, "requires_grad": False}, "student": side,
            "optimizer": {"key": "grouped", "kwargs": {}, "filters_params": False, "max_grad_norm": 1.0},
            "scheduler": {
                "key": "cosine", "scheduling_step": 1,
                "kwargs": {"num_warmup_steps": job.warmup_steps, "num_training_steps": job.steps},
            },
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": soft, "weight": 1}}}},
        },
        torch.device("cpu"), None, False, 1,
    )  # fmt: skip
    for epoch in range(job.epochs):
        box.pre_epoch_process(epoch=epoch)
        for inputs, targets, extras in box.train_data_loader:
            box.post_forward_process(box.forward_process(inputs, targets, extras))
        box.post_epoch_process()


HEAD = {"path": "classifier", "io": "output"}
ZOO = {
    "torchvision.datasets": (),
    "torchvision.models": (),
    "torchvision.models.densenet": ("_DenseBlock", "_Transition"),
    "torchvision.models.resnet": ("BasicBlock", "conv1x1"),
}


@contextlib.contextmanager
def torchvision_or_a_placeholder() -> Iterator[None]:
    """Inside: torchvision can be imported. Where it is not installed, its names stand for nothing.

    torchdistill imports it for its data sets and its networks, of which nothing is used here.
    """
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    root = types.ModuleType("torchvision")
    made = {"torchvision": root}
    for path, names in ZOO.items():
        made[path] = types.ModuleType(path)
        vars(made[path]).update(dict.fromkeys(names, torch.nn.Module))
    root.__dict__.update(datasets=made["torchvision.datasets"], models=made["torchvision.models"])
    sys.modules.update(made)
    try:
        yield
    finally:
        for path in made:
            del sys.modules[path]


def edgekd(job: Job) -> None:
    """edgekd with the teacher's answers from the cache."""
    importlib.import_module("peer_ours").distil(job, online=False)


def edgekd_online(job: Job) -> None:
    """edgekd with the teacher in every step."""
    importlib.import_module("peer_ours").distil(job, online=True)


METHODS = {
    "plain": plain,
    "edgekd": edgekd,
    "edgekd-online": edgekd_online,
    "textbrewer": textbrewer,
    "textbrewer-cached": textbrewer_cached,
    "torchdistill": torchdistill,
}


def main() -> None:
    """Train as the lines on the standard input say; libraries may say what they like on the error stream."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    method, folder = sys.argv[1:]
    job = Job(Path(folder))
    torch.manual_seed(job.seed)
    turns = Turns(job.steps, sys.stdin, replies)
    turns.say(ready=method)
    turns.wait()
    METHODS[method](job)
    if turns.to_come:
        raise SystemExit(f"{method} ended {turns.to_come} steps too early")
    turns.wait()
    turns.say(answers=job.answers())


if __name__ == "__main__":
    main()
