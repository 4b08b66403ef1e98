from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.images import images_from_cells
from edgekd.errors import DataError


def read(*cells: object, folder: Path = Path()) -> np.ndarray:
    return images_from_cells(list(cells), lambda row: f"a.jsonl:{row + 1}", folder)


def test_nested_lists_become_channels_first() -> None:
    assert read([[1, 2, 3], [4, 5, 6]]).shape == (1, 1, 2, 3)
    last = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    assert np.array_equal(read(last.tolist())[0], np.moveaxis(last, -1, 0))
    first = np.arange(3 * 2 * 5).reshape(3, 2, 5)
    assert np.array_equal(read(first.tolist())[0], first)


def test_whole_numbers_up_to_255_stay_bytes_and_others_become_floats() -> None:
    assert read([[0, 255]], [[1, 2]]).dtype == np.uint8
    assert read([[0, 256]], [[1, 2]]).dtype == np.float32
    assert read([[0.0, 1.0]]).dtype == np.float32
    assert read([[-1, 1]]).dtype == np.float32


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "found nothing, expected an image"),
        ("", "found nothing"),
        ({"bytes": None, "path": None}, "found nothing"),
        (7, "found 7, expected an image"),
        ([[1, 2], [3]], "differ in length"),
        ([["a", "b"]], "expected numbers"),
        ([[]], "expected numbers"),
        ([1, 2], "found an image of shape"),
        ([[[1, 2], [3, 4]], [[1, 2], [3, 4]]], "found an image of shape"),
        ([[float("nan"), 0.0]], "no number"),
        ([[float("-inf"), 0.0]], "no number"),
        ([[1e300, 0.0]], "too large for 32 bits"),
        ([[1, 2, 3]], r"found an image of 1 x 3 pixels in 1 channel, expected an image of 1 x 2 pixels"),
    ],
)
def test_cell_that_is_no_such_image_is_named(cell: object, said: str) -> None:
    with pytest.raises(DataError, match=f"a\\.jsonl:2: .*{said}"):
        read([[1, 2]], cell)


def test_missing_image_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cat\.png: no such file"):
        read("cat.png", folder=tmp_path)


def encoded(array: np.ndarray, mode: str | None = None) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: encoded images cannot be made")
    stream = io.BytesIO()
    picture = image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, "PNG")
    return stream.getvalue()


def test_encoded_images_are_read_from_bytes_and_paths(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    data = encoded(grey)
    (tmp_path / "a.png").write_bytes(data)
    images = read(data, {"bytes": data, "path": None}, {"bytes": None, "path": "a.png"}, "a.png", folder=tmp_path)
    assert images.shape == (4, 1, 3, 4)
    assert all(np.array_equal(image[0], grey) for image in images)


def test_encoded_colours_lose_transparency_and_palettes() -> None:
    colour = np.zeros((3, 4, 3), dtype=np.uint8)
    colour[..., 0] = 255
    images = read(encoded(colour), encoded(colour, "RGBA"), encoded(colour, "P"))
    assert all(np.array_equal(image, np.moveaxis(colour, -1, 0)) for image in images)


def test_sixteen_bit_images_are_not_clipped() -> None:
    deep = np.array([[0, 40000]], dtype=np.uint16)
    assert read(encoded(deep))[0, 0].tolist() == [[0.0, 40000.0]]


def test_damaged_image_is_named() -> None:
    data = encoded(np.zeros((30, 40), dtype=np.uint8))
    for damaged, said in ((data[: len(data) // 2], r"b'\\x89PNG"), (b"GIF89a", "b'GIF89a'")):
        with pytest.raises(DataError, match=r"a\.jsonl:1: the image cannot be decoded .*it begins with " + said):
            read(damaged)
