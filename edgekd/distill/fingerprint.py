"""Names for what goes into a training: equal content gives equal names, in any process."""

from __future__ import annotations

import hashlib
from typing import Any

import datasets
import torch

from edgekd.distill.arrow import value_bytes
from edgekd.files import content_hash

# What transformers writes into a configuration and no weight is computed with.
_NO_OPTIONS = ("transformers_version", "architectures", "dtype", "use_cache")


def weights_hash(model: Any) -> str:
    """Hex SHA-256 of the model's parameters and buffers: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def options_hash(model: Any) -> str:
    """Hex SHA-256 of the configuration of `model`: heads, activation, dropout and all else that weights do not tell.

    Where it was loaded from does not count. A model without a configuration has no options.
    """
    config = getattr(model, "config", None)
    table = {} if config is None else config.to_dict()
    return content_hash(
        {name: value for name, value in table.items() if name not in _NO_OPTIONS and not name.startswith("_")}
    )


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
