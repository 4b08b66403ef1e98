"""Images out of the cells of a table: encoded bytes, paths, or nested lists of numbers."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.examples import Images
from edgekd.data.extras import library
from edgekd.data.tables import file_bytes
from edgekd.errors import DataError
from edgekd.text import printable

_CHANNELS = (1, 3, 4)


def images_from_cells(cells: list[Any], place: Callable[[int], str], folder: Path) -> Images:
    """The images in `cells`: uint8 where all are whole numbers in 0..255, else float32. Paths start at `folder`.

    Shapes: [N, C, H, W]. A nested list is [H][W], [H][W][C] or [C][H][W], C being 1, 3 or 4.
    Errors: DataError naming the row: not an image, not finite, or of another size than the first.
    """
    images: list[npt.NDArray[Any]] = []
    for index, cell in enumerate(cells):
        image = _image(cell, place(index), folder)
        if images and image.shape != images[0].shape:
            found, expected = _size(image), _size(images[0])
            raise DataError(f"{place(index)}: found {found}, expected {expected} as in {place(0)}. Make all alike")
        images.append(image)
    if all(image.dtype == np.uint8 for image in images):
        return np.stack(images, dtype=np.uint8)
    return np.stack(images, dtype=np.float32)


def _size(image: npt.NDArray[Any]) -> str:
    channels, height, width = image.shape
    return f"an image of {height} x {width} pixels in {channels} channel{'s' if channels > 1 else ''}"


def _image(cell: Any, place: str, folder: Path) -> npt.NDArray[Any]:
    if isinstance(cell, dict) and {"bytes", "path"} & set(cell):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str) and cell:
        cell = file_bytes(folder / cell)
    if isinstance(cell, bytes) and cell:
        return _decoded(cell, place)
    if isinstance(cell, list) and cell:
        return _from_numbers(cell, place)
    found = "nothing" if not cell else printable(repr(cell), 60)
    raise DataError(f"{place}: found {found}, expected an image: its bytes, its path or nested lists of numbers")


def _decoded(data: bytes, place: str) -> npt.NDArray[Any]:
    pil = library("PIL.Image")
    try:
        with pil.open(BytesIO(data)) as picture:
            # Modes I and F hold more than a byte per pixel, which a conversion would clip.
            deep = picture.mode[0] in "IF"
            shown = picture if deep else picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
            pixels = np.array(shown)
    except pil.UnidentifiedImageError:
        raise DataError(
            f"{place}: the image cannot be decoded (it is damaged, or no image: it begins with {data[:8]!r})"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, pil.DecompressionBombError) as error:
        raise DataError(f"{place}: the image cannot be decoded ({printable(str(error), 120)})") from None
    return _from_numbers(pixels, place)


def _from_numbers(cell: list[Any] | npt.NDArray[Any], place: str) -> npt.NDArray[Any]:
    try:
        numbers = np.asarray(cell)
    except ValueError:
        raise DataError(f"{place}: the image's rows differ in length, expected a rectangle of numbers") from None
    if numbers.dtype.kind not in "iuf" or numbers.size == 0:
        raise DataError(f"{place}: the image holds {numbers.dtype.name} values, expected numbers")
    if numbers.ndim == 2:
        numbers = numbers[np.newaxis]
    elif numbers.ndim == 3 and numbers.shape[-1] in _CHANNELS:
        numbers = np.moveaxis(numbers, -1, 0)
    if numbers.ndim != 3 or numbers.shape[0] not in _CHANNELS:
        raise DataError(
            f"{place}: found an image of shape {numbers.shape}, expected 2 or 3 dimensions with 1, 3 or 4 channels"
        )
    if numbers.dtype.kind in "iu" and numbers.min() >= 0 and numbers.max() <= 255:
        return numbers.astype(np.uint8)
    pixels = as_float32(numbers)
    if not np.isfinite(pixels).all():
        raise DataError(
            f"{place}: the image holds a value that is no number or too large for 32 bits, expected finite ones"
        )
    return pixels


def as_float32(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A copy of `numbers` in 32 bits, infinite where they are too large for these."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)
