from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data.checks import Checks, checked, checked_documents
from edgekd.data.examples import Examples, Splits
from edgekd.data.leakage import Leak
from edgekd.data.sources import load_splits
from edgekd.errors import DataError
from edgekd.recipe import Data


def csv(*texts: str) -> str:
    return "text,label\n" + "".join(f'"{text}",{row % 2}\n' for row, text in enumerate(texts))


def numbered(count: int, word: str) -> list[str]:
    return [f"{word} {number} {word * (number % 5)}" for number in range(count)]


@pytest.fixture
def folder(tmp_path: Path, write: Callable[..., Path]) -> Callable[..., Checks]:
    """Write the three parts and check them."""

    def check(train: list[str], validation: list[str], test: list[str], **data: Any) -> Checks:
        write(tmp_path, train__csv=csv(*train), dev__csv=csv(*validation), test__csv=csv(*test))
        wanted = Data(source=".", **data)
        return checked(load_splits(wanted, base=tmp_path), wanted)

    return check


def test_clean_data_is_described_without_a_warning(folder: Callable[..., Checks]) -> None:
    found = folder(numbered(40, "alpha"), numbered(4, "beta"), numbered(6, "gamma"))
    assert found.warnings == []
    table = found.to_dict()
    assert (table["schema_version"], table["repeated"]) == ("1.1", 0)
    assert table["examples"] == {"train": 40, "validation": 4, "test": 6}
    assert table["classes"][1] == {"name": "1", "train": 20, "validation": 2, "test": 3}
    assert table["imbalance"] == 1.0
    assert [leak["share"] for leak in table["leakage"]] == [0.0, 0.0, 0.0]
    assert table["near_duplicates"] == {"similarity": 0.8, "chance_found": pytest.approx(0.99964, abs=1e-5)}
    assert (table["dropped"], table["blank"]) == (0, dict.fromkeys(table["examples"], 0))
    assert (table["truncated"], table["max_length"]) == (None, None)


def test_a_few_leaks_are_told_and_many_are_refused(folder: Callable[..., Checks]) -> None:
    train, test = numbered(40, "alpha"), numbered(10, "gamma")
    found = folder(train, numbered(4, "beta"), [*test[:9], train[3].upper()])
    (told,) = found.warnings
    assert told == (
        "1 of 10 test examples (10.0 %) also stand in train: 1 the same but for case, spaces and punctuation, 0 nearly "
        "the same. They show what a model remembers, not what it has learned. Set data.drop_leaked: true"
    )
    leaked = [*test[:8], train[3].upper(), f"{train[4]}!"]
    with pytest.raises(
        DataError,
        match=r"test\.csv: 2 of 10 test examples \(20\.0 %\) also stand in the training part such as 'alpha 4.*', "
        r"expected at most 10\.0 % \(data\.max_leakage\)\. Set data\.drop_leaked: true",
    ):
        folder(train, numbered(4, "beta"), leaked)
    assert folder(train, numbered(4, "beta"), leaked, max_leakage="20 %").leaks[1].count == 2
    dropped = folder(train, numbered(4, "beta"), leaked, drop_leaked=True, max_leakage=0)
    assert (dropped.dropped, dropped.examples["train"], dropped.warnings) == (2, 38, [])


def test_test_examples_that_repeat_each_other_are_told(folder: Callable[..., Checks]) -> None:
    test = [*numbered(6, "gamma"), "Gamma 0!", " gamma  0", "gamma 5"]
    found = folder([*numbered(40, "alpha"), "alpha 0"], numbered(4, "beta"), test)
    (told,) = found.warnings
    assert told == (
        "3 of 9 test examples (33.3 %) repeat another one of test: the same but for case, spaces and punctuation. A second "
        "answer to one input tells nothing new, so intervals look narrower than they are. Remove them"
    )
    assert found.to_dict()["repeated"] == 3
    blank = folder(numbered(40, "alpha"), numbered(4, "beta"), [*numbered(6, "gamma"), "", " "])
    assert [told for told in blank.warnings if "repeat" in told] == []


def test_repeated_images_and_documents_are_told() -> None:
    images = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    images[0, 0, 0, 0], images[3, 0, 0, 0] = 1, 2
    labels = np.array([0, 1, 1, 0], dtype=np.int64)
    parts = [Examples(name, labels, images=images + shift) for shift, name in ((10, "a"), (20, "b"), (0, "c"))]
    (told,) = (
        text for text in checked(Splits(*parts, ["x", "y"], "image"), Data(source="a")).warnings if "repeat" in text
    )
    assert told.startswith("1 of 4 test examples (25.0 %) repeat another one of test: the same to the pixel. ")
    texts = [
        Examples(name, np.zeros(3, dtype=np.int64), [f"{name} one", f"{name} two", f"{name} One"]) for name in "abc"
    ]
    assert checked_documents(Splits(*texts, ["document"], "text"), Data(source="a")).repeated == 1


def test_a_leak_of_the_validation_part_is_never_refused(folder: Callable[..., Checks]) -> None:
    train = numbered(40, "alpha")
    told = folder(train, train[:4], [*numbered(9, "gamma"), train[0]], max_leakage="10 %").warnings
    assert len(told) == 3
    assert told[0].startswith("4 of 4 validation examples (100.0 %) also stand in train: 4 the same")
    assert told[0].endswith("not what it has learned. Set data.drop_leaked: true")
    assert told[2].endswith(
        "What is chosen by them is also judged by them. Take them out of the validation part or name another"
    )


def test_blank_texts_are_told(folder: Callable[..., Checks]) -> None:
    train, test = numbered(40, "alpha"), numbered(4, "gamma")
    found = folder([*train, "", " "], numbered(4, "beta"), [*test, "", "\u200b", "", " "])
    assert found.warnings == [
        "train: 2 of 42 texts are blank. Remove them",
        "test: 4 of 8 texts are blank. Remove them",
    ]


def test_unlearnable_classes_are_refused() -> None:
    train = Examples("train.csv", np.array([0, 2] * 10, dtype=np.int64), numbered(20, "alpha"))
    one = Examples("dev.csv", np.array([0], dtype=np.int64), ["x"])
    splits = Splits(train, one, replace(one, labels=np.array([1])), ["0", "1", "2"], "text")
    with pytest.raises(DataError, match="the test part has examples of 1, of which the training part has none"):
        checked(splits, Data(source="."))


def test_images_are_compared_and_have_no_texts() -> None:
    pixels = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1) * np.ones((1, 1, 4, 4), dtype=np.uint8)
    whole = Examples("idx", np.arange(40, dtype=np.int64) % 2, images=pixels)
    splits = Splits(
        whole.subset(range(30)), whole.subset(range(29, 32)), whole.subset(range(32, 40)), ["a", "b"], "image"
    )
    found = checked(splits, Data(source="."))
    assert found.warnings[0].startswith(
        "1 of 3 validation examples (33.3 %) also stand in train: 1 the same to the pixel."
    )
    assert (found.blank, found.truncated, found.max_length) == ({}, None, None)
    (shown,) = found.leaks[0].shown
    assert (shown["row"], shown["other_row"], shown["text"]) == (1, 30, None)


def test_truncated_texts_are_told_above_five_percent() -> None:
    counts = {"train": {"a": 50, "b": 50}, "validation": {"a": 50, "b": 50}, "test": {"a": 50, "b": 50}}
    cut = {"train": 5, "validation": 6, "test": 0}
    found = Checks(counts, [], 0, {"train": 0}, 64, cut)
    (told,) = found.warnings
    assert told.startswith("validation: 6.0 % of the texts are longer than 64 tokens, and no student sees what is cut")
    assert found.to_dict()["truncated"] == cut


def test_a_search_that_was_cut_short_is_told() -> None:
    counts = {"train": {"a": 50, "b": 50}}
    (told,) = Checks(counts, [Leak("test", "train", 9, 0, 0, whole=False)], 0, {}).warnings
    assert told.startswith("test resembles train so much that not all of it was compared")
