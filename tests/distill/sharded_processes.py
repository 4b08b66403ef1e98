"""Trains a model in pieces, in two processes that a launcher started; see test_sharding.py.

Usage: accelerate launch --use_fsdp --fsdp_version 2 ... sharded_processes.py FOLDER MODE. Each process leaves
FOLDER/MODE-RANK.json, and what it saw of gradients as FOLDER/NAME-RANK.pt.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import several_processes as plain
import torch
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit
from torch import distributed
from torch.distributed.tensor import DTensor
from transformers import BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, TrainerCallback, TrainingArguments

from edgekd.distill import processes, sharding
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.train import train
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import Diverged

FEATURES = replace(plain.PLAIN, epochs=1, hidden=HiddenTerm(1.0), relations=RelationsTerm(1.0, 2))
MIXED = replace(plain.PLAIN, epochs=1, precision="bf16")
RATES = replace(plain.PLAIN, epochs=1, layer_decay=0.8, freeze_embeddings=True)
CLIP = 0.05


def whole(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


class Seen(TrainerCallback):
    """The gradients of each step, their norm as it is logged, and how much of the model this process keeps."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.norms: list[float] = []
        self.kept: dict[str, Any] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append(torch.cat([whole(weight.grad).flatten().clone() for weight in model.parameters()]))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "grad_norm" in logs:
            self.norms.append(float(logs["grad_norm"]))

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        def local(value: Any) -> int:
            return int((value.to_local() if isinstance(value, DTensor) else value).numel())

        weights = list(model.parameters())
        moments = [value for values in optimizer.state.values() for value in values.values() if value.ndim]
        self.kept = {
            "of": sum(weight.numel() for weight in weights),
            "weights": sum(local(weight) for weight in weights),
            "moments": sum(local(value) for value in moments),
            "cut": sorted({type(part).__name__ for part in model.modules() if type(part).__name__.startswith("FSDP")}),
        }


def gradients(
    folder: Path, rows: datasets.Dataset, count: int, *, accumulation: int = 1, clip: float = 0.0,
    by_arguments: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What an epoch of AdamW in batches of 16 saw, and the weights after it."""
    model, seen = tiny_bert(), Seen()
    held = list(model.parameters())
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, learning_rate=1e-3, lr_scheduler_type="constant",
        per_device_train_batch_size=16 // accumulation // count, gradient_accumulation_steps=accumulation, report_to=[],
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, save_strategy="no", logging_strategy="steps",
        logging_steps=1, max_grad_norm=clip, seed=3, data_seed=3, adam_epsilon=1e-3, fsdp=by_arguments or None,
    )  # fmt: skip
    trainer = DistillationTrainer(
        model, arguments, train_dataset=rows, alpha=0.7, pad_token_id=PAD, layer_decay=0.8, callbacks=[seen]
    )
    trainer.train()
    assert all(ours is its for ours, its in zip(held, model.parameters(), strict=True))
    assert type(model) is BertForSequenceClassification
    return {"steps": seen.steps, "norms": seen.norms, "kept": seen.kept,
            "weights": torch.cat([weight.detach().flatten() for weight in model.parameters()])}  # fmt: skip


def taught(folder: Path, lesson: datasets.Dataset, settings: TrainingSettings) -> dict[str, Any]:
    """A training beside its teacher, of a narrower student: with projectors where features are matched."""
    student = tiny_bert(2, layers=1, hidden=16)
    before = {name: weight.detach().clone() for name, weight in student.named_parameters()}
    validation = digit_sequences(100, 100 + plain.VALIDATION)
    result = train(student, lesson, validation, settings, folder, teacher=tiny_bert(9), pad_token_id=PAD)
    same = [name for name, weight in student.named_parameters() if torch.equal(before[name], weight)]
    assert all(weight.requires_grad for weight in student.parameters())
    logits = predict_logits(student, validation, 16, PAD)
    return {"result": result.to_dict(), "logits": logits.tolist(), "weights": weights_hash(student), "same": same,
            "names": [name for name, _ in student.named_parameters()]}  # fmt: skip


def tied() -> dict[str, Any]:
    """A step of a model whose head is its embedding table, in pieces and whole, on the same four rows."""
    torch.manual_seed(4)
    config = GPT2Config(
        vocab_size=31, n_embd=12, n_layer=2, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    rows = torch.arange(32).reshape(4, 8) % 31
    model.eval()(input_ids=rows, labels=rows).loss.backward()
    alone = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    before = weights_hash(model)
    pieces = sharding.Pieces(model, torch.device("cpu"), sharding.Wish())
    own = rows[processes.rank() :: 2]
    model(input_ids=own, labels=own).loss.backward()
    furthest = max(float((whole(weight.grad) - alone[name]).abs().max()) for name, weight in model.named_parameters())
    with pieces.whole():
        inside = weights_hash(model) if processes.is_first() else None
        outputs = model(input_ids=rows).logits.sum().item() if processes.is_first() else None
    pieces.end(failed=False)
    assert model.lm_head.weight is model.transformer.wte.weight
    return {"furthest": furthest, "before": before, "inside": inside, "after": weights_hash(model),
            "answers": [outputs, model(input_ids=rows).logits.sum().item()]}  # fmt: skip


def vanilla(folder: Path, lesson: datasets.Dataset) -> dict[str, Any]:
    """A training whose student is saved by the first process and loaded by all."""
    student, rows = tiny_vit(2, layers=1), digit_images(200, 210)
    settings = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=8, alpha=0.9, seed=5)
    train(student, lesson, rows, settings, folder, save=lambda _: student.save_pretrained(folder / "student"))
    again = type(student).from_pretrained(folder / "student")
    files = sorted(path.name for path in (folder / "student").iterdir())
    return {"saved": weights_hash(student), "loaded": weights_hash(again), "files": files,
            "same": bool((predict_logits(student, rows, 4) == predict_logits(again, rows, 4)).all())}  # fmt: skip


def nan(folder: Path) -> dict[str, Any]:
    """A training whose second process alone meets a number that is none."""

    def poison(row: Any) -> Any:
        return {"pixel_values": [[[float("nan")] * 8] * 8]} if row["row"] == 0 else row

    model, rows = tiny_vit(), digit_images(0, 32).map(poison, load_from_cache_file=False)
    settings = TrainingSettings(epochs=1, learning_rate=1e-3, batch_size=32, seed=5)
    try:
        train(model, rows, digit_images(200, 210), settings, folder)
    except Diverged as error:
        state = np.concatenate([weight.detach().numpy().ravel() for weight in model.parameters()])
        return {"error": str(error), "left": bool(np.isnan(state).all()), "kind": type(model).__name__}
    return {"error": "none"}


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    rank, environment = processes.rank(), dict(os.environ)
    told: dict[str, Any]
    if mode == "whole":
        lesson = plain.lesson_of(folder)
        for name, options in WAYS.items():
            torch.save(gradients(folder / "adam", lesson, 2, **options), folder / f"{name}-{rank}.pt")
        told = {
            "plain": plain.plain_training(folder / "plain", lesson),
            "features": taught(folder / "features", lesson, FEATURES),
            "mixed": taught(folder / "mixed", lesson, MIXED),
            "rates": taught(folder / "rates", lesson, RATES),
            "dropout": plain.dropout_training(folder / "whole"),
            "vanilla": vanilla(folder / "vanilla", digit_images(0, 24).add_column("teacher_logits", [[0.0] * 10] * 24)),
            "tied": tied(),
            "nan": nan(folder / "nan"),
            "switch": os.environ.get(sharding.SWITCH),
            "environment": [name for name in environment if os.environ.get(name) != environment[name]],
        }
    elif mode == "arguments":
        found = gradients(folder / "adam", plain.lesson_of(folder), 2, by_arguments=True)
        torch.save(found, folder / f"arguments-{rank}.pt")
        told = {"switch": os.environ.get(sharding.SWITCH)}
    else:
        told = plain.dropout_training(folder / "killed", kill=mode == "killed")
    (folder / f"{mode}-{rank}.json").write_text(json.dumps(told))
    distributed.destroy_process_group()


WAYS: dict[str, dict[str, Any]] = {
    "parts-1": {"accumulation": 1}, "parts-2": {"accumulation": 2}, "clipped": {"clip": CLIP},
}  # fmt: skip


if __name__ == "__main__":
    main()
