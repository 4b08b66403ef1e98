"""Trains students of the tasks with a loss of their own in two processes; see test_two_processes.py.

Usage: python -m torch.distributed.run --standalone --nproc-per-node 2 task_processes.py FOLDER MODE. Each process leaves
FOLDER/MODE-RANK.json.
"""

import sys
from pathlib import Path
from typing import Any

import datasets
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from launching import leave
from tasks_data import model, several, tagged
from test_embedding import encoder, settings, texts, told
from torch import distributed
from torch.distributed.tensor import DTensor

from edgekd.distill import processes
from edgekd.distill.feature_cache import Wanted, stored_features
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.tasks import task_of
from edgekd.distill.train import train
from edgekd.task import TaskName

ROWS = 41  # in parts of 8: the last part of an epoch is one row, and nothing is left for the second process
LABELS: dict[TaskName, tuple[str, Any]] = {
    "multi-label-classification": ("sequence", several), "token-classification": ("tokens", tagged),
}  # fmt: skip


def labels_training(name: TaskName, folder: Path, *, stored: bool = False) -> dict[str, Any]:
    """A distillation on labels and a teacher; where asked for also on what the teacher computed inside, from disk."""
    task, (head, data) = task_of(name), LABELS[name]
    teacher, student = calm(model(head, seed=1)), calm(model(head, seed=2))
    rows = task.cached(
        teacher, data(ROWS), folder / "cache", key=name, batch_size=8, pad_token_id=0, on_rows=None
    )  # fmt: skip
    plan = TrainingSettings(task=name, epochs=2, learning_rate=5e-3, batch_size=8, alpha=0.7, seed=5)
    features = None
    if stored:
        plan = TrainingSettings(
            task=name, epochs=2, learning_rate=5e-3, batch_size=8, alpha=0.7, seed=5, hidden=HiddenTerm(1.0),
            relations=RelationsTerm(1.0, 2),
        )  # fmt: skip
        features = stored_features(
            teacher, rows, folder / "cache", Wanted((0,), (0,)), key=name, batch_size=8, pad_token_id=0, shard_rows=10
        )
        teacher.register_forward_pre_hook(lambda *_: sys.exit("the teacher was asked"))
    before = weights_hash(student)
    result = train(
        student, rows, data(24), plan, folder / f"{name}-{stored}", teacher=teacher, features=features, pad_token_id=0
    )  # fmt: skip
    found = task.answers(student, data(24), 24, 0)
    return {"result": result.to_dict(), "weights": weights_hash(student), "before": before,
            "losses": found.losses.tolist()}  # fmt: skip


def calm(network: Any) -> Any:
    """The model without dropout, which falls differently in each process."""
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return network


def projected_training(folder: Path) -> dict[str, Any]:
    """A narrower student of an encoder, which learns through a projector; whether that was in pieces after a step."""
    teacher, student, cut = encoder(seed=1), encoder(16, layers=1, seed=2), set()
    data, judges = told(teacher, texts(65), folder), told(teacher, texts(30, seed=1), folder)
    before = weights_hash(student)

    def look(*_: Any) -> None:
        for name, weight in student.named_parameters():
            if "projector" in name:
                cut.add(isinstance(weight, DTensor))

    result = train(
        student, data, judges, settings(epochs=2, batch_size=16), folder / "encoder", pad_token_id=0, on_progress=look
    )
    return {"before": before, "weights": weights_hash(student), "result": result.to_dict(), "cut": sorted(cut),
            "losses": task_of("sentence-embedding").answers(student, judges, 30, 0).losses.tolist(),
            "names": [name for name, _ in student.named_parameters()]}  # fmt: skip


def trainings(folder: Path) -> dict[str, Any]:
    """What came of all of them."""
    return {
        "multi-label": labels_training("multi-label-classification", folder),
        "tokens": labels_training("token-classification", folder),
        "stored": labels_training("token-classification", folder, stored=True),
        "encoder": projected_training(folder),
    }


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    leave(folder, mode, processes.rank(), trainings(folder / mode))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
