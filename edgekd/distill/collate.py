"""From rows of a data set to the tensors of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgekd.distill.held import Picked
from edgekd.errors import InputError

LABELS = "labels"
ROW = "row"
TEACHER_LOGITS = "teacher_logits"
IGNORED = -100  # in place of a label: no loss, as transformers and torch have it

# What is for the loss or for us, and not for the model's forward: these, and all columns of the teacher.
NOT_FOR_THE_MODEL = (LABELS, ROW)
OF_TEACHER = "teacher_"


@dataclass(frozen=True)
class Collator:
    """Rows to a batch: token sequences are padded to the longest of the batch, everything else is stacked.

    Errors: InputError when token sequences differ in length and `pad_token_id` is None, or other columns differ in
    shape.
    """

    pad_token_id: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]] | Picked) -> dict[str, torch.Tensor]:
        if isinstance(rows, Picked):
            return {name: self._column(name, values) for name, values in rows.columns.items()}
        return {name: self._column(name, [np.asarray(row[name]) for row in rows]) for name in rows[0]}

    def _column(self, name: str, values: np.ndarray[Any, Any] | list[np.ndarray[Any, Any]]) -> torch.Tensor:
        if isinstance(values, list):
            if len({value.shape for value in values}) > 1:
                values = self._padded(name, values)
            values = np.stack(values)
        stacked = values
        return torch.from_numpy(stacked.astype(np.float32 if stacked.dtype.kind == "f" else np.int64, copy=False))

    def _padded(self, name: str, values: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        kinds = "iuf" if name.startswith(OF_TEACHER) else "iu"
        if any(value.ndim != 1 or value.dtype.kind not in kinds for value in values):
            raise InputError(f"column {name}: found rows of different shapes, expected one shape for all")
        fill: int | None = self.pad_token_id if name == "input_ids" else IGNORED if name == LABELS else 0
        if fill is None:
            raise InputError("column input_ids: sequences differ in length, so pad_token_id must be given")
        longest = max(len(value) for value in values)
        return [np.pad(value, (0, longest - len(value)), constant_values=fill) for value in values]


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `batch` that the model's forward takes."""
    return {name: value for name, value in batch.items() if _is_input(name)}


def _is_input(name: str) -> bool:
    return name not in NOT_FOR_THE_MODEL and not name.startswith(OF_TEACHER)
