"""Names for what goes into a training: equal content gives equal names, in any process."""

from __future__ import annotations

import hashlib
from typing import Any

import datasets
import torch

from edgekd.distill.arrow import value_bytes


def weights_hash(model: Any) -> str:
    """Hex SHA-256 of the model's parameters and buffers: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def dataset_hash(dataset: datasets.Dataset) -> str:
    """Hex SHA-256 of the rows of `dataset` in their order, wherever and however they are stored."""
    digest = hashlib.sha256()
    names = sorted(dataset.column_names)
    for table in dataset.with_format("arrow").iter(batch_size=1000):
        for name in names:
            digest.update(f"\n{name} {table.num_rows} ".encode())
            for piece in value_bytes(table[name]):
                digest.update(piece)
    return digest.hexdigest()
