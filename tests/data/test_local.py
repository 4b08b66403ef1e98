from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.examples import Splits
from edgekd.data.sources import load_splits
from edgekd.recipe import Data


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev"])
def test_parts_are_guessed_by_their_names(
    tmp_path: Path,
    validation: str,
    csv_rows: Callable[..., str],
    write: Callable[..., Path],
    sizes: Callable[[Splits], tuple[int, int, int]],
) -> None:
    write(
        tmp_path,
        train__csv=csv_rows(6),
        test__csv=csv_rows(2, word="t"),
        README__md="",
        **{f"{validation}__csv": csv_rows(4, word="v")},
    )
    splits = load_splits(Data(source="."), base=tmp_path)
    assert sizes(splits) == (6, 4, 2)
    assert splits.validation.name == f"{validation}.csv"
    assert splits.notes == []


def test_single_file_is_the_training_part(
    tmp_path: Path,
    csv_rows: Callable[..., str],
    write: Callable[..., Path],
    sizes: Callable[[Splits], tuple[int, int, int]],
) -> None:
    write(tmp_path, any__csv=csv_rows(100), test__csv=csv_rows(4, word="t"))
    splits = load_splits(Data(source="any.csv"), base=tmp_path)
    assert sizes(splits) == (70, 10, 20)
    assert splits.notes == [
        "test was cut from any.csv: 20 of 100 examples (seed 17).",
        "validation was cut from any.csv: 10 of 100 examples (seed 17).",
    ]
    assert sizes(load_splits(Data(source="any.csv", test="test.csv"), base=tmp_path)) == (90, 10, 4)


def test_named_training_part_ends_the_guessing_with_a_note(
    tmp_path: Path,
    csv_rows: Callable[..., str],
    write: Callable[..., Path],
    sizes: Callable[[Splits], tuple[int, int, int]],
) -> None:
    write(tmp_path, train__csv=csv_rows(50), test__csv=csv_rows(4, word="t"), dev__csv=csv_rows(4, word="d"))
    splits = load_splits(Data(source=".", train="train.csv", test="test.csv"), base=tmp_path)
    assert sizes(splits) == (45, 5, 4)
    assert splits.notes[0] == "dev.csv is not used: data.train is given, and data does not name that file."


def test_named_parts_may_lie_in_folders_below(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw", a__csv=csv_rows(20))
    assert len(load_splits(Data(source=".", train="raw/a.csv"), base=tmp_path).train) == 14


def test_two_files_for_one_part_are_refused(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(6), train__tsv="text\tlabel\na\t0\nb\t1\n")
    refuse(r"train\.csv, train\.tsv could each be the train part. Name one in data\.train", tmp_path, source=".")


def test_parts_in_different_formats_go_together(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    write(tmp_path, train__csv=csv_rows(20), dev__jsonl='{"text": "a", "label": 1}\n', test__tsv="label\ttext\n0\tb\n")
    splits = load_splits(Data(source="."), base=tmp_path)
    assert (splits.validation.texts, splits.validation.labels.tolist()) == (["a"], [1])
    assert (splits.test.texts, splits.test.labels.tolist()) == (["b"], [0])


def test_format_may_be_given_for_names_that_do_not_tell(
    tmp_path: Path, write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, a__data="text\tlabel\n" + "".join(f'"t{row}\t{row % 2}\n' for row in range(20)))
    refuse(r"a\.data: the name does not tell the format", tmp_path, source="a.data")
    assert (load_splits(Data(source="a.data", format="tsv"), base=tmp_path).train.texts or [""])[0].startswith('"t')


def test_gzipped_csv_is_read(
    tmp_path: Path, csv_rows: Callable[..., str], sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(csv_rows(20).encode()))
    assert sizes(load_splits(Data(source="."), base=tmp_path)) == (14, 2, 4)


def test_absolute_source_needs_no_base(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    write(tmp_path, train__csv=csv_rows(20))
    assert len(load_splits(Data(source=str(tmp_path))).train) == 14


def test_otherwise_is_used_when_the_source_is_absent(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path]
) -> None:
    write(tmp_path, here__csv=csv_rows(20))
    here = Data(source="here.csv")
    splits = load_splits(Data(source="gone", otherwise=Data(source="gone too", otherwise=here)), base=tmp_path)
    assert splits.notes[:2] == [
        "gone is not there: gone too is used instead (data.otherwise).",
        "gone too is not there: here.csv is used instead (data.otherwise).",
    ]
    assert load_splits(Data(source="here.csv", otherwise=Data(source="gone")), base=tmp_path).sha256 == splits.sha256


def test_places_that_hold_no_data_set_are_explained(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(20))
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", data__csv=csv_rows(4))
    refuse(r"gone: no such file or folder. Give a local path, hub:ID or sklearn:digits", tmp_path, source="gone")
    refuse(r"empty: holds no file such as train\.csv, found nothing", tmp_path, source="empty")
    refuse(
        r"other: holds no file such as train\.csv, found data\.csv. Name one in data\.train", tmp_path, source="other"
    )
    refuse(r"trian\.csv: no such file.*Did you mean 'train\.csv'", tmp_path, source=".", train="trian.csv")
    refuse(r"empty: this is a folder, expected a file", tmp_path, source=".", train="empty", format="csv")
    refuse(r"train\.csv: is a file and so the training part", tmp_path, source="train.csv", train="other.csv")


def test_one_file_for_two_parts_is_refused(
    tmp_path: Path, csv_rows: Callable[..., str], write: Callable[..., Path], refuse: Callable[..., None]
) -> None:
    write(tmp_path, train__csv=csv_rows(20), test__csv=csv_rows(4))
    refuse("data.train and data.test are both 'train.csv'", tmp_path, source=".", train="train.csv", test="train.csv")
    refuse("data.validation and data.test are both 'test.csv'", tmp_path, source=".", validation="test.csv")


def idx_pair(folder: Path, part: str, images: np.ndarray, labels: list[int]) -> None:
    head = struct.pack(f">BBBB{images.ndim}I", 0, 0, 8, images.ndim, *images.shape)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.astype(np.uint8).tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, len(labels)) + bytes(labels))


def noise(count: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size))


def test_idx_parts_are_found_and_read(tmp_path: Path, sizes: Callable[[Splits], tuple[int, int, int]]) -> None:
    idx_pair(tmp_path, "train", noise(20), [0, 1] * 10)
    idx_pair(tmp_path, "t10k", noise(6), [0, 1] * 3)
    splits = load_splits(Data(source=".", labels=["cat", "dog"]), base=tmp_path, kind="image")
    assert (sizes(splits), splits.kind, splits.label_names) == ((18, 2, 6), "image", ["cat", "dog"])
    assert splits.test.images is not None
    assert np.array_equal(splits.test.images[:, 0], noise(6))
    named = Data(source=".", train="train-images-idx3-ubyte", test="t10k-images-idx3-ubyte", labels=["cat", "dog"])
    assert load_splits(named, base=tmp_path).sha256 == splits.sha256


def test_idx_with_wrong_counts_labels_or_sizes_is_refused(tmp_path: Path, refuse: Callable[..., None]) -> None:
    idx_pair(tmp_path, "train", noise(20), [0, 1] * 9)
    refuse(r"train-labels-idx1-ubyte: found 18 labels, expected 20 as in train-images", tmp_path, source=".")
    idx_pair(tmp_path, "train", noise(20), [0, 1] * 10)
    idx_pair(tmp_path, "t10k", noise(3), [0, 1, 7])
    refuse(r"t10k-labels-idx1-ubyte: label 3: the label is '7', expected", tmp_path, source=".")
    idx_pair(tmp_path, "t10k", noise(2, size=5), [0, 1])
    refuse(r"t10k-images-idx3-ubyte: images are 1 x 5 x 5 of uint8, expected 1 x 4 x 4", tmp_path, source=".")
    idx_pair(tmp_path, "train", noise(0), [])
    refuse("holds no examples", tmp_path, source=".")
    refuse("which holds images, expected texts", tmp_path, source=".", kind="text")


def test_images_as_lists_in_json_lines_are_read(tmp_path: Path, write: Callable[..., Path]) -> None:
    lines = [json.dumps({"image": image.tolist(), "label": "ab"[row % 2]}) for row, image in enumerate(noise(20))]
    write(tmp_path, train__jsonl="\n".join(lines))
    splits = load_splits(Data(source="."), base=tmp_path)
    assert (splits.kind, splits.label_names) == ("image", ["a", "b"])
    assert splits.train.images is not None
    assert (splits.train.images.dtype, splits.train.images.shape[1:]) == (np.uint8, (1, 4, 4))
