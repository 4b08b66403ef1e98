"""The little we need of Arrow itself, beneath `datasets`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray


def stream_bytes(table: Any) -> bytes:
    """`table` in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def mapped_table(path: Path) -> Any:
    """The table that `stream_bytes` made the file at `path` of, mapped into memory: only what is looked at is read."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        return stream.read_all()


def value_bytes(column: Any) -> Iterator[bytes]:
    """The lengths and values of `column`, piece by piece: equal for equal content, however Arrow holds it."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        yield b"list:" + list_lengths(array).tobytes()
        array = array.flatten()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield b"text:" + pc.binary_length(array).to_numpy(zero_copy_only=False).astype(np.int64).tobytes()
        yield "".join(array.to_pylist()).encode()
    else:
        values = array.to_numpy(zero_copy_only=False)
        yield f"{values.dtype.str}:".encode() + values.tobytes()


def table_of_rows(columns: Mapping[str, NDArray[Any] | list[NDArray[Any]]]) -> Any:
    """A table of `columns`: numbers where one is [rows], else lists of a fixed length, of whatever shape a row has.

    A list of arrays becomes lists that are as long as these.
    """
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: NDArray[Any] | list[NDArray[Any]]) -> Any:
    if isinstance(values, list):
        ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(values)))
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), math.prod(values.shape[1:]))


def flat_values(column: Any) -> NDArray[Any]:
    """The numbers of a column of lists, one after the other."""
    values: NDArray[Any] = column.combine_chunks().flatten().to_numpy()
    return values


def mapped_values(column: Any) -> NDArray[Any]:
    """As flat_values, of a column of one chunk without a copy: what `mapped_table` mapped stays where it is."""
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = chunk.flatten().to_numpy()
    return values


def list_lengths(column: Any) -> NDArray[np.int64]:
    """The length of each list of a column."""
    lengths: NDArray[Any] = np.asarray(pc.list_value_length(column))
    return lengths.astype(np.int64)
