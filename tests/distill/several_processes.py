"""Trains in two processes that torchrun started; see test_processes.py.

Usage: python -m torch.distributed.run --standalone --nproc-per-node 2 several_processes.py FOLDER MODE. Each process
leaves FOLDER/MODE-RANK.json, and gradients as FOLDER/gradients-ACCUMULATION-RANK.pt.
"""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from torch import distributed
from transformers import TrainerCallback, TrainingArguments

from edgekd.distill import processes
from edgekd.distill.cache import cached_logits
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.reporting import Reporting
from edgekd.distill.scaffold import put_up
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.short import Stretch, train_short
from edgekd.distill.train import train
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import Diverged, EdgekdError, InputError, StorageError

# 41 sentences in parts of 8: the last part of an epoch is one row, and nothing is left for the second process.
ROWS, VALIDATION = 41, 40
PLAIN = TrainingSettings(
    epochs=2, learning_rate=5e-3, batch_size=16, accumulation=2, alpha=0.9, final_ce_epoch=True, seed=5
)
KILLED_AT = 17  # forward passes of one process: in the second of two epochs of twelve


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append(torch.cat([weight.grad.flatten().clone() for weight in model.parameters()]))


def gradients(folder: Path, rows: datasets.Dataset, accumulation: int, count: int) -> dict[str, Any]:
    """The gradients of an epoch of plain gradient descent in batches of 16, and the weights after it."""
    model, copied = tiny_bert(), Gradients()
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, learning_rate=0.1, optim="sgd", lr_scheduler_type="constant",
        per_device_train_batch_size=16 // accumulation // count, gradient_accumulation_steps=accumulation, report_to=[],
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, save_strategy="no", logging_strategy="no",
        max_grad_norm=0.0, seed=3, data_seed=3,
    )  # fmt: skip
    DistillationTrainer(model, arguments, train_dataset=rows, alpha=0.7, pad_token_id=PAD, callbacks=[copied]).train()
    return {"steps": copied.steps, "weights": torch.cat([weight.detach().flatten() for weight in model.parameters()])}


def spare_part(folder: Path, rows: datasets.Dataset) -> dict[str, Any]:
    """A training of a model with a part that no forward pass asks."""
    model = tiny_bert()
    model.add_module("spare", torch.nn.Linear(2, 2))
    before = weights_hash(model.spare)
    settings = TrainingSettings(epochs=1, learning_rate=1e-2, batch_size=16, alpha=0.9, seed=5)
    train(model, rows, digit_sequences(100, 110), settings, folder, pad_token_id=PAD)
    return {"weights": weights_hash(model), "spare": [before, weights_hash(model.spare)],
            "no gradient": model.spare.weight.grad is None}  # fmt: skip


def lesson_of(folder: Path) -> datasets.Dataset:
    return cached_logits(tiny_bert(9), digit_sequences(0, ROWS), folder / "cache", batch_size=8, pad_token_id=PAD)


def plain_training(folder: Path, lesson: datasets.Dataset, reporting: Reporting | None = None) -> dict[str, Any]:
    student, steps = tiny_bert(2, layers=1), []
    result = train(
        student, lesson, digit_sequences(100, 100 + VALIDATION), PLAIN, folder, pad_token_id=PAD,
        on_progress=lambda seen: steps.append([seen.step, seen.loss]), reporting=reporting,
    )  # fmt: skip
    logits = predict_logits(student, digit_sequences(100, 100 + VALIDATION), 16, PAD)
    return {"result": result.to_dict(), "weights": weights_hash(student), "steps": steps, "logits": logits.tolist()}


def dropping_training(folder: Path) -> dict[str, Any]:
    """A training of a student of one layer that gives up two others on the way."""
    lesson = cached_logits(tiny_vit(9), digit_images(0, 41), folder.parent / "few images", batch_size=32)
    student, deep = tiny_vit(2, layers=1), tiny_vit(2, layers=3)
    put_up(student, [[deep.vit.layers[1], deep.vit.layers[2]]])
    settings = TrainingSettings(epochs=3, learning_rate=2e-3, batch_size=8, alpha=0.9, drop_until=0.5, seed=5)
    result = train(student, lesson, digit_images(200, 240), settings, folder)
    logits = predict_logits(student, digit_images(200, 240), 16)
    return {"result": result.to_dict(), "weights": weights_hash(student), "logits": logits.tolist()}


def dropout_training(folder: Path, kill: bool = False) -> dict[str, Any]:
    """A training whose second process may kill itself, and what became of it."""
    lesson = cached_logits(tiny_vit(9), digit_images(0, 96), folder.parent / "images", batch_size=32)
    student, steps, saved, passes = tiny_vit(2, layers=1, hidden=16, dropout=0.1), [], [], []

    def count_passes(*_: Any) -> None:
        passes.append(torch.initial_seed())
        if kill and processes.rank() == 1 and len(passes) == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    student.register_forward_hook(count_passes)
    settings = TrainingSettings(epochs=3, learning_rate=5e-3, batch_size=8, alpha=0.9, final_ce_epoch=True, seed=5)
    result = train(
        student, lesson, digit_images(200, 240), settings, folder,
        on_progress=lambda seen: steps.append(seen.step), save=lambda found: saved.append(found.best_epoch),
    )  # fmt: skip
    return {"result": result.to_dict(), "weights": weights_hash(student), "steps": steps, "saved": saved,
            "left": (folder / "checkpoints").exists(), "seed": passes[0]}  # fmt: skip


def slow_training(folder: Path) -> dict[str, Any]:
    """A training whose second process is slow, until the time of the first is up."""
    student = tiny_vit(2, layers=1, hidden=16)
    if processes.rank() == 1:
        student.register_forward_hook(lambda *_: time.sleep(0.05))
    settings = TrainingSettings(
        epochs=1000, learning_rate=1e-3, batch_size=8, seed=5, patience=1000,
        max_seconds=0.5 if processes.rank() == 0 else 1e9,
    )  # fmt: skip
    result = train(student, digit_images(0, 32), digit_images(200, 210), settings, folder)
    return {"result": result.to_dict(), "weights": weights_hash(student)}


def error_of(what: Any) -> str:
    try:
        what()
    except EdgekdError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def fail() -> None:
    raise StorageError("the disk is full")


def refusals(folder: Path) -> dict[str, str]:
    """What each process says where one of them alone meets the trouble."""
    rank = processes.rank()
    rows, validation = digit_images(0, 32), digit_images(200, 210)
    settings = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=32, seed=5)

    def poison(row: Any) -> Any:
        return {"pixel_values": [[[float("nan")] * 8] * 8]} if row["row"] == 0 else row

    poisoned = rows.map(poison, load_from_cache_file=False)
    shared = error_of(lambda: train(tiny_vit(1 + rank), rows, validation, settings, folder))
    assert shared.startswith(InputError.__name__)
    nan = error_of(lambda: train(tiny_vit(), poisoned, validation, settings, folder))
    assert nan.startswith(Diverged.__name__)
    odd = error_of(lambda: train(tiny_vit(), rows, validation, replace(settings, batch_size=5), folder))
    trial = error_of(lambda: train_short(tiny_vit(), rows, validation, settings, Stretch(1, 1, 1), folder))
    first = error_of(lambda: processes.done_by_first(fail))
    return {"shared": shared, "nan": nan, "odd": odd, "trial": trial, "first": first}


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    rank = processes.rank()
    if mode == "whole":
        lesson = lesson_of(folder)
        for accumulation in (1, 2, 4, 8):
            found = gradients(folder / "sgd", lesson, accumulation, 2)
            torch.save(found, folder / f"gradients-{accumulation}-{rank}.pt")
        told = {
            "plain": plain_training(folder / "plain", lesson),
            "told": plain_training(folder / "told", lesson, Reporting(("tensorboard",), folder / "tensorboard", "two")),
            "dropout": dropout_training(folder / "whole"),
            "dropping": dropping_training(folder / "dropping"),
            "spare": spare_part(folder / "spare", lesson),
            "slow": slow_training(folder / "slow"),
            "refusals": refusals(folder / "refused"),
            "said": [processes.as_first_says(f"by {rank}"), processes.done_by_first(processes.rank),
                     processes.mean_of_all(float(rank)), processes.sum_of_all(rank), processes.first_says(rank == 1), processes.first_says(rank == 0)],
        }  # fmt: skip
    else:
        told = dropout_training(folder / "killed", kill=mode == "killed")
    (folder / f"{mode}-{rank}.json").write_text(json.dumps(told))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
