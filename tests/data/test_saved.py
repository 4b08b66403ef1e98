from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

from edgekd.data.documents import load_documents
from edgekd.data.examples import Splits
from edgekd.data.saved import is_saved, read_saved
from edgekd.data.sources import load_splits
from edgekd.errors import DataError, RecordError
from edgekd.recipe import Data

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})


def rows(count: int, word: str) -> Any:
    table = {"text": [f"{word} {row}" for row in range(count)], "label": [row % 2 for row in range(count)]}
    return datasets.Dataset.from_dict(table, features=FEATURES)


def test_parts_of_a_dictionary_are_found_with_their_names_of_classes(
    tmp_path: Path, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    parts = {"train": rows(20, "alpha"), "validation": rows(4, "beta"), "test": rows(6, "gamma")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    for kind in (None, "text"):
        splits = load_splits(Data(source="d"), base=tmp_path, kind=kind)
        assert (sizes(splits), splits.notes) == ((20, 4, 6), [])
        assert splits.label_names == ["no", "yes"]
        assert splits.test.texts == [f"gamma {row}" for row in range(6)]
    named = load_splits(Data(source="d", train="train", test="validation", format="arrow"), base=tmp_path, kind="text")
    assert sizes(named) == (18, 2, 4)
    assert "test" not in {note.partition(" ")[0] for note in named.notes}


def test_one_data_set_in_several_files_is_cut_into_parts(
    tmp_path: Path, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    rows(50, "alpha").save_to_disk(str(tmp_path / "d"), num_shards=3)
    assert is_saved(tmp_path / "d")
    assert not is_saved(tmp_path)
    table = read_saved(tmp_path / "d", ["text"])
    assert table.columns == {"text": [f"alpha {row}" for row in range(50)]}
    assert table.place(49) == f"{tmp_path / 'd'}: row 50"
    splits = load_splits(Data(source="d"), base=tmp_path, kind="text")
    assert sizes(splits) == (35, 5, 10)
    assert [note.partition(" ")[0] for note in splits.notes] == ["test", "validation"]
    one = next((tmp_path / "d").glob("data-00001*.arrow"))
    assert sum(sizes(load_splits(Data(source=str(one)), kind="text"))) == 17


def test_documents_and_images_are_read_too(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": rows(20, "alpha"), "test": rows(6, "gamma")}).save_to_disk(str(tmp_path / "d"))
    assert len(load_documents(Data(source="d"), base=tmp_path).test) == 6
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    table = {"image": [image.tolist() for image in pixels], "label": [row % 2 for row in range(20)]}
    datasets.Dataset.from_dict(table).save_to_disk(str(tmp_path / "i"))
    images = load_splits(Data(source="i"), base=tmp_path, kind="image").train.images
    assert images is not None
    assert images.shape == (14, 1, 4, 4)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("{}", "lists no files"),
        ("[]", "lists no files"),
        ('{"_data_files": []}', "d: holds no examples"),
        (
            '{"_data_files": [{"filename": "../x.arrow"}]}',
            r"names the file '\.\./x\.arrow', expected one in the same folder",
        ),
        ('{"_data_files": [{"filename": 3}]}', "names the file 3"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', r"gone\.arrow: no such file"),
        ("{", "not valid JSON"),
    ],
)
def test_a_damaged_list_of_files_is_named(tmp_path: Path, state: str, said: str) -> None:
    rows(4, "alpha").save_to_disk(str(tmp_path / "d"))
    (tmp_path / "d" / "state.json").write_text(state)
    with pytest.raises((DataError, RecordError), match=said):
        read_saved(tmp_path / "d", ["text"])


def test_files_that_do_not_go_together_and_none_at_all_are_refused(tmp_path: Path) -> None:
    rows(4, "alpha").save_to_disk(str(tmp_path / "d"))
    datasets.Dataset.from_dict({"text": [1]}).save_to_disk(str(tmp_path / "e"))
    (tmp_path / "e" / "data-00000-of-00001.arrow").rename(tmp_path / "d" / "more.arrow")
    state = json.loads((tmp_path / "d" / "state.json").read_text())
    state["_data_files"].append({"filename": "more.arrow"})
    (tmp_path / "d" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="its files have different columns"):
        read_saved(tmp_path / "d", ["text"])
    rows(0, "none").save_to_disk(str(tmp_path / "f"))
    with pytest.raises(DataError, match="f: holds no examples"):
        read_saved(tmp_path / "f", ["text"])
    none = pa.table({"text": pa.array([], pa.string())})
    with pa.ipc.new_stream(tmp_path / "f" / "none.arrow", none.schema) as writer:
        writer.write_table(none)
    (tmp_path / "f" / "state.json").write_text('{"_data_files": [{"filename": "none.arrow"}]}')
    with pytest.raises(DataError, match="f: holds no examples"):
        read_saved(tmp_path / "f", ["text"])
