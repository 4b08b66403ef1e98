"""What the trained PyTorch model itself answers: the reference an exported model is held against."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from edgekd.errors import DataError, MissingExtra
from edgekd.export.onnx import evaluating
from edgekd.export.parity import Array, Batch, real_rows

try:
    import numpy as np
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "torch", "export") from None


def torch_logits(model: torch.nn.Module, batches: Iterable[Batch]) -> Array:
    """What `model`, a transformers model, answers to `batches`, float32, with rows as in edgekd.export.parity.

    A batch maps each input's name to its array; names that the model does not take are left alone.

    Shapes: (examples, classes); for a language model (real tokens, vocabulary), the tokens its attention_mask marks.
    Errors: DataError when there is no batch.
    """
    device = next(model.parameters()).device
    takes = set(inspect.signature(model.forward).parameters)
    rows: list[Array] = []
    with evaluating(model), torch.no_grad():
        for batch in batches:
            arrays = {name: np.ascontiguousarray(value) for name, value in batch.items() if name in takes - {"labels"}}
            tensors = {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}
            rows.append(real_rows(model(**tensors).logits.float().cpu().numpy(), batch))
    if not rows:
        raise DataError("found no batch, expected at least one to compare the exported model on")
    return np.concatenate(rows)
