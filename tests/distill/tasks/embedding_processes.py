"""Trains a narrower student of an encoder in two processes that torchrun started; see test_embedding.py.

Usage: python -m torch.distributed.run --standalone --nproc-per-node 2 embedding_processes.py FOLDER. Each process leaves
FOLDER/told-RANK.json.
"""

import json
import sys
from pathlib import Path

import datasets
import torch
from test_embedding import encoder, settings, texts, told
from torch import distributed

from edgekd.distill import processes
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.train import train


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    processes.join()
    teacher, student = encoder(seed=1), encoder(16, layers=1, seed=2)
    # 65 texts in parts of 16: the last part of an epoch is one text, and nothing is left for the second process.
    data, judges = told(teacher, texts(65), folder), told(teacher, texts(30, seed=1), folder)
    before = weights_hash(student)
    result = train(student, data, judges, settings(epochs=2, batch_size=16), folder / "run", pad_token_id=0)
    found = {"before": before, "weights": weights_hash(student), "result": result.to_dict(),
             "names": [name for name, _ in student.named_parameters()]}  # fmt: skip
    (folder / f"told-{processes.rank()}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
