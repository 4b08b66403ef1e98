from __future__ import annotations

import numpy as np
import pytest

from edgekd.data.examples import Examples, Splits
from edgekd.errors import DataError


def texts(*words: str, labels: list[int] | None = None, pairs: list[str] | None = None) -> Examples:
    return Examples("t", np.array(labels or [0] * len(words), dtype=np.int64), list(words), pairs)


def test_hash_follows_content_and_not_the_name() -> None:
    one, same = texts("a", "b"), Examples("other", np.zeros(2, dtype=np.int64), ["a", "b"])
    assert one.sha256 == same.sha256
    changed = [
        texts("a", "c"),
        texts("b", "a"),
        texts("ab", ""),
        texts("a", "b", labels=[0, 1]),
        texts("a", "b", pairs=["", ""]),
        texts("a", "b", pairs=["x", ""]),
    ]
    assert len({one.sha256, *(item.sha256 for item in changed)}) == 7


def test_hash_of_images_knows_shape_and_type() -> None:
    labels = np.zeros(1, dtype=np.int64)
    wide = Examples("i", labels, images=np.zeros((1, 1, 2, 8), dtype=np.uint8))
    high = Examples("i", labels, images=np.zeros((1, 1, 8, 2), dtype=np.uint8))
    deep = Examples("i", labels, images=np.zeros((1, 1, 2, 2), dtype=np.float32))
    assert len({wide.sha256, high.sha256, deep.sha256}) == 3


def test_hash_of_an_image_slice_equals_the_hash_of_its_copy() -> None:
    images = np.arange(64, dtype=np.uint8).reshape(4, 1, 4, 4)
    view = Examples("i", np.zeros(2, dtype=np.int64), images=images[::2])
    assert view.sha256 == Examples("i", np.zeros(2, dtype=np.int64), images=images[::2].copy()).sha256


def test_subset_keeps_inputs_and_labels_together() -> None:
    part = texts("a", "b", "c", labels=[0, 1, 2], pairs=["x", "y", "z"]).subset([2, 0])
    assert (part.texts, part.pairs, part.labels.tolist(), len(part)) == (["c", "a"], ["z", "x"], [2, 0], 2)


def test_subset_of_nothing_is_empty() -> None:
    assert len(texts("a").subset([])) == 0


def test_inputs_and_labels_of_different_number_are_refused() -> None:
    with pytest.raises(DataError, match="found 2 inputs and 1 labels"):
        Examples("t", np.zeros(1, dtype=np.int64), ["a", "b"])


def test_neither_texts_nor_images_is_refused() -> None:
    with pytest.raises(DataError, match="both or neither"):
        Examples("t", np.zeros(1, dtype=np.int64))


def test_flat_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"\[N, C, H, W\]"):
        Examples("t", np.zeros(1, dtype=np.int64), images=np.zeros((1, 8, 8), dtype=np.uint8))


def test_texts_that_differ_in_case_spaces_and_punctuation_are_the_same_input() -> None:
    keys = texts("A  b", "a, B!", "ab").keys
    assert keys[0] == keys[1] != keys[2]


def test_examples_of_which_a_text_shows_nothing_are_blank() -> None:
    assert texts("a", "", " \u200b\t", "!").blank == [1, 2]
    assert texts("a", "b", "", pairs=["x", " ", ""]).blank == [1, 2]
    assert Examples("i", np.zeros(1, dtype=np.int64), images=np.zeros((1, 1, 2, 2), dtype=np.uint8)).blank == []


def test_an_example_is_shown_short_and_on_one_line() -> None:
    part = texts("a\n\x1b[31m" + "b" * 1000, pairs=["c"])
    shown = part.shown(0) or ""
    assert shown.startswith("a \\x1b[31mbbb")
    assert shown.endswith("… | c")
    assert len(shown) < 250
    assert Examples("i", np.zeros(1, dtype=np.int64), images=np.zeros((1, 1, 2, 2), dtype=np.uint8)).shown(0) is None


def test_the_classes_that_have_an_example_are_present() -> None:
    assert texts("a", "b", "c", labels=[2, 0, 2]).present == {0, 2}
    assert texts("a").subset([]).present == set()


def test_a_second_text_cannot_be_mistaken_for_the_end_of_the_first() -> None:
    assert texts("a b", pairs=["c"]).keys != texts("a", pairs=["b c"]).keys


def test_class_counts_name_every_class_in_every_part() -> None:
    splits = Splits(
        texts("a", "b", labels=[0, 1]), texts("c", labels=[1]), texts("d", labels=[0]), ["no", "yes", "maybe"], "text"
    )
    assert splits.class_counts["train"] == {"no": 1, "yes": 1, "maybe": 0}
    assert splits.class_counts["validation"] == {"no": 0, "yes": 1, "maybe": 0}


def test_hash_of_splits_knows_which_part_is_which() -> None:
    a, b, c = texts("a"), texts("b"), texts("c")
    assert Splits(a, b, c, ["x", "y"], "text").sha256 != Splits(a, c, b, ["x", "y"], "text").sha256
    assert Splits(a, b, c, ["x", "y"], "text").sha256 != Splits(a, b, c, ["y", "x"], "text").sha256
