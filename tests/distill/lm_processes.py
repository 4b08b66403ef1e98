"""The gradients of a language model's steps in several processes; see tasks/test_causal_lm.py.

Usage: python -m torch.distributed.run --standalone --nproc-per-node 2 lm_processes.py FOLDER. Each process leaves
FOLDER/RANK.pt.
"""

import sys
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import distributed
from transformers import TrainerCallback, TrainingArguments

sys.path.insert(0, str(Path(__file__).parents[1]))

from lm_lessons import rows, teacher, tokenizer
from tiny_language import tiny_gpt2, tiny_llama

from edgekd.distill import processes
from edgekd.distill.tasks import task_of
from edgekd.distill.trainer import DistillationTrainer

ROWS = 21  # of stories, the last one mostly filled up: the parts of a step hold different numbers of tokens


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append(torch.cat([weight.grad.flatten().clone() for weight in model.parameters()]))


def lesson(folder: Path) -> Any:
    """The last blocks of some stories with what the teacher says of them."""
    blocks = rows(0, 6)
    blocks = blocks.select(range(len(blocks) - ROWS, len(blocks)))
    return task_of("causal-lm").cached(
        teacher(), blocks, folder / "cache", key="blocks", batch_size=8, pad_token_id=None, on_rows=None, top_k=8
    )  # fmt: skip


def gradients(folder: Path, family: str, count: int, accumulation: int = 1) -> list[Any]:
    """The gradients of each step of an epoch in batches of 8 blocks."""
    make, copied = {"llama": tiny_llama, "gpt2": tiny_gpt2}[family], Gradients()
    student = make(len(tokenizer()), seed=5)
    for part in student.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, learning_rate=0.1, optim="sgd", lr_scheduler_type="constant",
        per_device_train_batch_size=8 // accumulation // count, gradient_accumulation_steps=accumulation, report_to=[],
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, save_strategy="no", logging_strategy="no",
        max_grad_norm=0.0, seed=3, data_seed=3,
    )  # fmt: skip
    DistillationTrainer(
        student, arguments, train_dataset=lesson(folder), task="causal-lm",
        alpha=0.7, temperature=1.0, callbacks=[copied],
    ).train()  # fmt: skip
    return copied.steps


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    found = {family: gradients(folder, family, 2) for family in ("llama", "gpt2")}
    torch.save(found, folder / f"{processes.rank()}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
