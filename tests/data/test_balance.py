from __future__ import annotations

import numpy as np
import pytest

from edgekd.data.balance import balance_warnings, imbalance, refuse_unlearnable
from edgekd.data.examples import Examples, Splits
from edgekd.errors import DataError

NAMES = ["no", "yes", "maybe"]


def splits(train: list[int], validation: list[int], test: list[int], dropped: int = 0) -> Splits:
    def part(name: str, labels: list[int]) -> Examples:
        return Examples(name, np.array(labels, dtype=np.int64), [f"{name} {row}" for row in range(len(labels))])

    parts = part("train.csv", train), part("dev.csv", validation), part("test.csv", test)
    return Splits(*parts, NAMES, "text", dropped=dropped)


def test_parts_with_the_same_classes_can_be_learned() -> None:
    refuse_unlearnable(splits([0, 1], [0], [1]))
    refuse_unlearnable(splits([0, 1, 2], [0, 1, 2], [0]))


def test_a_class_that_training_never_shows_is_named() -> None:
    with pytest.raises(DataError, match=r"^dev\.csv: the validation part has examples of maybe, of which the training"):
        refuse_unlearnable(splits([0, 1], [0, 2], [2]))
    with pytest.raises(DataError, match=r"^test\.csv: the test part has examples of yes, of which the training part"):
        refuse_unlearnable(splits([0, 2, 0], [0], [1, 2]))


@pytest.mark.parametrize("train", [[1, 1, 1], [1]])
def test_one_class_alone_is_refused(train: list[int]) -> None:
    with pytest.raises(
        DataError, match=r"train\.csv: the training part holds one class only \(yes\), expected at least"
    ):
        refuse_unlearnable(splits(train, [1], [1]))


def test_what_dropping_did_is_said() -> None:
    with pytest.raises(
        DataError, match=r"one class only .* \(7 training examples were left out by data\.drop_leaked\)"
    ):
        refuse_unlearnable(splits([1], [1], [1], dropped=7))
    with pytest.raises(DataError, match=r"the test part has examples of maybe.*\(7 training examples were left out"):
        refuse_unlearnable(splits([0, 1], [1], [2], dropped=7))


def test_imbalance_is_that_of_the_classes_that_occur() -> None:
    assert imbalance({"a": 40, "b": 2, "c": 0}) == 20.0
    assert imbalance({"a": 5}) == imbalance({"a": 0}) == imbalance({}) == 1.0


def counts(train: dict[str, int], **others: dict[str, int]) -> dict[str, dict[str, int]]:
    plenty = dict.fromkeys(train, 100)
    return {"train": train, "validation": plenty, "test": plenty, **others}


def test_balanced_parts_are_nothing_to_tell() -> None:
    assert balance_warnings(counts({"a": 10, "b": 200})) == []


def test_small_classes_are_named() -> None:
    (told,) = balance_warnings(counts({"a": 10, "b": 9, "c": 1}))
    assert told.startswith("train has fewer than 10 examples of b, c: ")


def test_imbalance_above_twenty_names_both_ends() -> None:
    assert balance_warnings(counts({"a": 400, "b": 20, "c": 30})) == []
    (told,) = balance_warnings(counts({"a": 402, "b": 20, "c": 30}))
    assert told.startswith("train has 20 times as many examples of a (402) as of b (20)")


def test_missing_classes_are_named_by_part() -> None:
    told = balance_warnings(counts({"a": 90, "b": 0}, test={"a": 0, "b": 1}))
    assert told == [
        "train has no example of b: no model can learn that",
        "test has no example of a: nothing will be known of that",
    ]


def test_names_cannot_move_the_cursor() -> None:
    (told,) = balance_warnings(counts({"a\x1b[2J\u202e": 3, "b": 30}))
    assert "\x1b" not in told
    assert "\u202e" not in told
