"""The idx format of MNIST and its relatives, plain or gzipped.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.examples import Images
from edgekd.data.images import as_float32
from edgekd.data.tables import file_bytes
from edgekd.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in the idx file `path`. Errors: DataError for a wrong magic number or a wrong number of bytes."""
    data = file_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] == 0:
        found = data[:4].hex(" ") or "nothing"
        raise DataError(f"{path}: starts with {found}, expected an idx file (00 00, type, dimensions)")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path}: ends inside the idx header. Fetch it again")
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    kind = np.dtype(_TYPES[data[2]])
    expected = start + math.prod(shape) * kind.itemsize
    if len(data) != expected:
        size = " x ".join(map(str, shape))
        raise DataError(f"{path}: found {len(data)} bytes, expected {expected} for {size} values. Fetch it again")
    return np.frombuffer(data, dtype=kind, offset=start).reshape(shape)


def read_idx_images(path: Path) -> Images:
    """The images in `path`, one channel each. Shapes: [N, 1, H, W]. Errors: DataError naming an image that has NaN."""
    array = read_idx(path)
    if array.ndim != 3:
        raise DataError(f"{path}: found {array.ndim} dimensions, expected 3 (images, rows, columns)")
    if array.dtype.kind == "i":
        raise DataError(f"{path}: found signed whole numbers, expected images of bytes or of floats")
    pixels = array[:, np.newaxis]
    # Copies: what frombuffer gives is read-only, which torch warns about.
    if array.dtype.kind == "u":
        return np.array(pixels, np.uint8)
    images = as_float32(pixels)
    wrong = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if len(wrong):
        raise DataError(
            f"{path}: {len(wrong)} of {len(images)} images hold a value that is no number or too large for 32 bits, "
            f"first image {wrong[0] + 1}, expected finite ones. Remove or mend them"
        )
    return images


def read_idx_labels(path: Path) -> list[str]:
    """The labels in `path`, as the text of their numbers. Errors: DataError."""
    array = read_idx(path)
    if array.ndim != 1 or array.dtype.kind == "f":
        raise DataError(f"{path}: found {array.ndim} dimensions of {array.dtype.name}, expected 1 of whole numbers")
    return [str(label) for label in array.tolist()]


def labels_beside(images: Path) -> Path:
    """The file of labels that belongs to the file of `images`. Errors: DataError when it is not there."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    if name == images.name:
        raise DataError(f"{images}: expected a name such as train-images-idx3-ubyte, which tells the labels' name")
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    for choice in (name, other):
        if (images.parent / choice).is_file():
            return images.parent / choice
    raise DataError(f"{images.parent / name}: no such file, expected the labels of {images.name} in it")
