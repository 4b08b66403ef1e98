from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.idx import labels_beside, read_idx, read_idx_images, read_idx_labels
from edgekd.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("kind", list(CODES))
@pytest.mark.parametrize("packed", [False, True])
def test_every_type_is_read_plain_and_gzipped(tmp_path: Path, kind: str, packed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    data = idx_bytes(array)
    (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
    assert np.array_equal(read_idx(tmp_path / "a"), array)


def test_images_get_one_channel_and_keep_bytes_or_become_float32(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind, expected in (("u1", np.uint8), ("f8", np.float32)):
        path.write_bytes(idx_bytes(np.arange(24).reshape(2, 3, 4).astype(kind)))
        images = read_idx_images(path)
        assert (images.shape, images.dtype) == ((2, 1, 3, 4), expected)
        images[0, 0, 0, 0] = 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "starts with nothing"),
        (lambda data: b"text,label\n", "expected an idx file"),
        (lambda data: b"\0\0\x0a" + data[3:], "expected an idx file"),
        (lambda data: data[:9], "ends inside the idx header"),
        (lambda data: data[:-1], r"found 39 bytes, expected 40 for 2 x 3 x 4 values"),
        (lambda data: data + b"\0", r"found 41 bytes, expected 40"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "found 40 bytes, expected"),
    ],
)
def test_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    (tmp_path / "a").write_bytes(damage(idx_bytes(np.zeros((2, 3, 4), dtype=np.uint8))))
    with pytest.raises(DataError, match=said):
        read_idx(tmp_path / "a")


def test_labels_in_the_place_of_images_are_refused_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(idx_bytes(np.zeros(4, dtype=np.uint8)))
    assert read_idx_labels(path) == ["0"] * 4
    with pytest.raises(DataError, match="found 1 dimensions, expected 3"):
        read_idx_images(path)
    path.write_bytes(idx_bytes(np.zeros((2, 3, 4), dtype=np.uint8)))
    with pytest.raises(DataError, match="expected 1 of whole numbers"):
        read_idx_labels(path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
    ],
)
def test_labels_are_found_beside_the_images(tmp_path: Path, images: str, labels: str) -> None:
    (tmp_path / labels).touch()
    assert labels_beside(tmp_path / images) == tmp_path / labels


def test_missing_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: no such file"):
        labels_beside(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="expected a name such as"):
        labels_beside(tmp_path / "pixels")


def test_images_that_are_no_numbers_are_counted_and_named(tmp_path: Path) -> None:
    pixels = np.zeros((4, 2, 2), dtype=np.float64)
    path = tmp_path / "a"
    path.write_bytes(idx_bytes(pixels))
    assert read_idx_images(path).dtype == np.float32
    pixels[1, 0, 0], pixels[3, 1, 1] = np.nan, 1e300
    path.write_bytes(idx_bytes(pixels))
    with pytest.raises(
        DataError, match=r"a: 2 of 4 images hold a value that is no number or .* first image 2, expected"
    ):
        read_idx_images(path)
