from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgekd.data.examples import Splits
from edgekd.data.sources import load_splits
from edgekd.recipe import Data


def test_digits_come_scaled_from_scikit_learn(sizes: Callable[[Splits], tuple[int, int, int]]) -> None:
    splits = load_splits(Data(source="sklearn:digits"))
    images = splits.train.images
    assert images is not None
    assert (images.dtype, images.shape[1:], float(images.min()), float(images.max())) == (
        np.float32,
        (1, 8, 8),
        0.0,
        1.0,
    )
    assert sum(sizes(splits)) == 1797
    assert splits.label_names == list("0123456789")
    assert min(splits.class_counts["validation"].values()) >= 17


def test_other_names_of_scikit_learn_are_refused(tmp_path: Path, refuse: Callable[..., None]) -> None:
    refuse(r"'sklearn:iris', expected sklearn:digits", tmp_path, source="sklearn:iris")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `datasets` that goes away with the test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def hub_folder(tmp_path: Path, cache: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    names = pa.schema([("text", pa.string()), ("label", pa.int64())])
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    schema = names.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for part, count, hide in (("train", 30, False), ("validation", 6, False), ("test", 4, True)):
        texts = [f"{part} {row}" for row in range(count)]
        labels = [-1 if hide else row % 2 for row in range(count)]
        pq.write_table(pa.table({"text": texts, "label": labels}, schema=schema), folder / f"{part}.parquet")
    return folder


def test_hub_data_set_gives_its_splits_and_class_names(
    hub_folder: Path, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    splits = load_splits(Data(source=f"hub:{hub_folder}", train="train", test="validation"))
    assert (sizes(splits), splits.label_names, splits.kind) == ((27, 3, 6), ["no", "yes"], "text")
    assert splits.test.labels.tolist() == [0, 1, 0, 1, 0, 1]
    relative = Data(source="hub:./hub", train="train", test="validation")
    assert load_splits(relative, base=hub_folder.parent).sha256 == splits.sha256


def test_hub_config_may_follow_the_name(hub_folder: Path, sizes: Callable[[Splits], tuple[int, int, int]]) -> None:
    named = Data(source=f"hub:{hub_folder}:default", train="train", test="validation")
    assert sizes(load_splits(named)) == (27, 3, 6)


def test_hidden_labels_of_a_hub_test_split_are_explained(
    hub_folder: Path, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    refuse(r"hub, test: row 1: unknown label '-1'.* -1 stands for a hidden label", tmp_path, source=f"hub:{hub_folder}")


def test_wrong_hub_settings_are_explained(hub_folder: Path, tmp_path: Path, refuse: Callable[..., None]) -> None:
    hub = f"hub:{hub_folder}"
    refuse(
        r"has no split 'tets', found test, train, validation.*Did you mean 'test'", tmp_path, source=hub, test="tets"
    )
    refuse(r"names the config 'a' and data\.config 'b'", tmp_path, source=f"{hub}:a", config="b")
    refuse(r"cannot be loaded \(.*Check data\.source and data\.config", tmp_path, source=f"{hub}:none")
    refuse(
        r"has no column 'sentence', found label, text", tmp_path, source=hub, text="sentence", label="x", train="train"
    )
    refuse("expected hub:ID", tmp_path, source="hub:")
    refuse("data.train and data.test are both 'train'", tmp_path, source=hub, train="train", test="train")


def test_hub_that_cannot_be_reached_is_explained(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., None]
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(r"hub:nobody/nothing: the hub cannot be reached", tmp_path, source="hub:nobody/nothing")
