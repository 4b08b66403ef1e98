"""Encoded data of two tasks and tiny models for them."""

from typing import Any

import datasets
import torch

from edgekd.student import StudentSpec
from edgekd.students.build import build


def model(head: str, seed: int = 0, labels: int = 3) -> Any:
    spec = StudentSpec(
        architecture="bert", layers=1, hidden=16, heads=2, ffn=16, vocabulary=20, positions=16, token_types=1,
        labels=labels, head=head,
    )  # fmt: skip
    return build(spec, seed=seed)


def tagged(rows: int = 12) -> datasets.Dataset:
    generator = torch.Generator().manual_seed(0)
    table: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "row": list(range(rows))}
    for row in range(rows):
        length = 3 + row % 4
        ids = torch.randint(0, 20, (length,), generator=generator).tolist()
        table["input_ids"].append(ids)
        table["attention_mask"].append([1] * length)
        table["labels"].append([-100, *(number % 3 for number in ids[1:-1]), -100])
    return datasets.Dataset.from_dict(table)


def several(rows: int = 12) -> datasets.Dataset:
    """The same sentences, each with any of three labels."""
    plain = tagged(rows).remove_columns("labels")
    return plain.add_column("labels", [[row % 2, row // 2 % 2, 1] for row in range(rows)])
