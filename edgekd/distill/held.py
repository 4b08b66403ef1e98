"""A data set held in memory, column by column: a batch is then a few copies instead of many small conversions.

Reading 32 rows from Arrow takes longer than a step of a small student. Values and order are those of the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch.utils.data
from numpy.typing import NDArray

from edgekd.distill.arrow import flat_values, list_lengths

MOST_BYTES = 2**30  # of one data set, our choice: a larger one is read from where it lies


@dataclass(frozen=True)
class Column:
    """The values of a column, row after row, and where each row begins. Shapes: `starts` [rows + 1].

    `shape` is that of every row, None where rows differ in length.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]
    shape: tuple[int, ...] | None

    def rows(self, picked: NDArray[np.int64]) -> NDArray[Any] | list[NDArray[Any]]:
        """The rows `picked`, in one array where they have one shape, else each in its own."""
        if self.shape is not None:
            found: NDArray[Any] = self.values.reshape(len(self.starts) - 1, *self.shape)[picked]
            return found
        return [self.values[self.starts[row] : self.starts[row + 1]] for row in picked]


@dataclass(frozen=True)
class Picked:
    """Rows of a data set that is held, by column."""

    columns: dict[str, NDArray[Any] | list[NDArray[Any]]]


class Held(torch.utils.data.Dataset[Any]):
    """The rows of a data set, as a DataLoader asks for them: in batches, for a Collator."""

    def __init__(self, columns: dict[str, Column], rows: int) -> None:
        self._columns, self._rows = columns, rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> dict[str, Any]:
        """One row, as the data set gives it in numpy's format."""
        picked = np.array([row if row >= 0 else self._rows + row])
        return {name: column.rows(picked)[0] for name, column in self._columns.items()}

    def __getitems__(self, rows: Sequence[int]) -> Picked:
        """Several rows at once."""
        picked = np.asarray(rows, dtype=np.int64)
        return Picked({name: column.rows(picked) for name, column in self._columns.items()})


def held(dataset: datasets.Dataset) -> Any:
    """`dataset` in memory; one that is larger than a gigabyte in numpy's format, from where it lies."""
    columns, taken = {}, 0
    for name in dataset.column_names:
        column = _column(dataset, name)
        taken += 0 if column is None else column.values.nbytes
        if column is None or taken > MOST_BYTES:
            return dataset.with_format("numpy")
        columns[name] = column
    return Held(columns, len(dataset))


def _column(dataset: datasets.Dataset, name: str) -> Column | None:
    """The column in memory; None for one that is neither numbers nor lists of them."""
    feature = dataset.features[name]
    if isinstance(feature, datasets.Array2D | datasets.Array3D | datasets.Array4D):
        shape = tuple(feature.shape)
        if any(length is None for length in shape):
            return None
        if len(dataset) * int(np.prod(shape)) * np.dtype(feature.dtype).itemsize > MOST_BYTES:
            return None
        values = np.asarray(dataset.with_format("numpy")[name][:]).reshape(-1)
        return Column(values, _starts(np.full(len(dataset), int(np.prod(shape)))), shape)
    tables = [table[name] for table in dataset.with_format("arrow").iter(batch_size=10_000)]
    inner = getattr(feature, "feature", None)
    if isinstance(feature, datasets.Value) and _is_number(feature):
        values = np.concatenate([table.to_numpy() for table in tables])
        return Column(values, _starts(np.ones(len(dataset), dtype=np.int64)), ())
    if isinstance(inner, datasets.Value) and _is_number(inner):
        lengths = np.concatenate([list_lengths(table) for table in tables])
        same = len(lengths) > 0 and bool((lengths == lengths[0]).all())
        values = np.concatenate([flat_values(table) for table in tables])
        return Column(values, _starts(lengths), (int(lengths[0]),) if same else None)
    return None


def _is_number(value: datasets.Value) -> bool:
    return str(value.dtype).startswith(("int", "uint", "float"))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)])
