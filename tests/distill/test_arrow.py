from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from edgekd.distill.arrow import flat_values, list_lengths, stream_bytes, table_of_rows, value_bytes


def content(column: Any) -> bytes:
    return b"".join(value_bytes(column))


def test_a_table_of_logits_reads_back_as_it_was_written() -> None:
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    data = stream_bytes(table_of_rows({"row": np.array([4, 5, 9]), "logits": logits}))
    table = pa.ipc.open_stream(data).read_all()
    assert table["row"].to_pylist() == [4, 5, 9]
    assert table["logits"].to_pylist() == logits.tolist()
    np.testing.assert_array_equal(flat_values(table["logits"]), logits.reshape(-1))


def test_lengths_are_those_of_the_lists() -> None:
    assert list_lengths(pa.chunked_array([[[1, 2], []], [[3]]])).tolist() == [2, 0, 1]


def test_equal_columns_have_equal_bytes_however_they_are_held() -> None:
    whole = pa.chunked_array([[[1, 2], [3], [4, 5, 6]]])
    sliced = pa.chunked_array([[[0], [1, 2], [3], [4, 5, 6], [7]]]).slice(1, 3)
    chunked = pa.chunked_array([[[1, 2]], [[3], [4, 5, 6]]])
    assert content(whole) == content(sliced) == content(chunked)


def test_moved_boundaries_changed_values_and_types_have_other_bytes() -> None:
    columns = [
        pa.chunked_array([[[1, 2], [3]]]),
        pa.chunked_array([[[1], [2, 3]]]),
        pa.chunked_array([[[1, 2], [4]]]),
        pa.chunked_array([[[1.0, 2.0], [3.0]]]),
        pa.chunked_array([["ab", "c"]]),
        pa.chunked_array([["a", "bc"]]),
        pa.chunked_array([[1, 2, 3]]),
    ]
    assert len({content(column) for column in columns}) == len(columns)


def test_images_in_an_extension_type_are_read_by_their_pixels() -> None:
    features = datasets.Features({"pixels": datasets.Array3D((1, 2, 2), "float32")})
    zero, one = ([[[number, 0.0], [0.0, 0.0]]] for number in (0.0, 1.0))
    rows = datasets.Dataset.from_dict({"pixels": [zero, one]}, features=features).with_format("arrow")[:]["pixels"]
    assert content(rows.slice(0, 1)) != content(rows.slice(1, 1))
