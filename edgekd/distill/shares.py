"""The training part divided among processes, so that several of them take the very steps that one would take.

A part of an optimiser step is the same rows in the same order however many processes there are; each takes every n-th
of them. The last part of an epoch may be so short that nothing is left for a process. It then gets the first row
without a label, which counts for nothing: no process may leave out a turn, for the others wait for its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler
from typing_extensions import override

from edgekd.distill.collate import IGNORED, LABELS, Collator


class Shares(Sampler[list[int]]):
    """For each part of `part_rows` rows the row numbers that the process `rank` of `count` takes; perhaps none."""

    def __init__(self, order: Sampler[int], part_rows: int, rank: int, count: int) -> None:
        self._order, self._part_rows, self._rank, self._count = order, part_rows, rank, count

    def set_epoch(self, epoch: int) -> None:
        """Take the order of `epoch`."""
        if isinstance(self._order, SeedableRandomSampler):
            self._order.set_epoch(epoch)

    @override
    def __iter__(self) -> Iterator[list[int]]:
        numbers = list(self._order)
        for start in range(0, len(numbers), self._part_rows):
            yield numbers[start : start + self._part_rows][self._rank :: self._count]

    def __len__(self) -> int:
        rows = len(self._order) if isinstance(self._order, Sized) else 0
        return math.ceil(rows / self._part_rows)


class ShareLoader(DataLoader[Any]):
    """Batches of one process; the trainer tells the epoch, which fixes the order."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of `epoch`."""
        if isinstance(self.batch_sampler, Shares):
            self.batch_sampler.set_epoch(epoch)


def share_loader(
    rows: datasets.Dataset, order: Sampler[int] | None, collate: Collator, *, part_rows: int, seed: int, rank: int,
    count: int, pin_memory: bool,
) -> ShareLoader:  # fmt: skip
    """The batches of the process `rank` of `count`, out of parts of `part_rows` rows.

    A random `order` becomes the one that a single process with this `seed` would take.
    """
    if order is None or isinstance(order, RandomSampler):
        order = SeedableRandomSampler(rows, data_seed=seed)
    shares = Shares(order, part_rows, rank, count)
    return ShareLoader(_Rows(rows), batch_sampler=shares, collate_fn=collate, pin_memory=pin_memory)


class _Rows(Dataset[Mapping[str, Any]]):
    def __init__(self, rows: datasets.Dataset) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, numbers: Sequence[int]) -> list[Mapping[str, Any]]:
        if numbers:
            found: list[Mapping[str, Any]] = self._rows.__getitems__(list(numbers))
            return found
        row = self._rows[0]
        return [{**row, LABELS: np.full_like(np.asarray(row[LABELS]), IGNORED)}]


def is_filler(labels: torch.Tensor) -> bool:
    """Whether no row of a batch has a label. Shapes: any."""
    return bool((labels == IGNORED).all())
