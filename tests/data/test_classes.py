from __future__ import annotations

import pytest

from edgekd.data.classes import classes_from_part
from edgekd.data.parts import Part
from edgekd.errors import DataError


def part(*labels: str, names: list[str] | None = None) -> Part:
    words = list(labels)
    return Part(
        "train.csv", "train.csv", words, lambda row: f"train.csv:{row + 2}", ["x"] * len(words), None, None, names
    )


def resolved(
    *labels: str, given: list[str] | None = None, names: list[str] | None = None
) -> tuple[list[str], list[int]]:
    train = part(*labels, names=names)
    classes = classes_from_part(train, given)
    return classes.names, classes.numbers(train).tolist()


def test_words_become_classes_in_sorted_order() -> None:
    assert resolved("no", "yes", "maybe", "no") == (["maybe", "no", "yes"], [1, 2, 0, 1])


def test_unicode_words_are_classes_too() -> None:
    assert resolved("ärger", "愛", "ärger") == (["ärger", "愛"], [0, 1, 0])


def test_whole_numbers_are_the_classes_themselves_in_numeric_order() -> None:
    labels = [str(number) for number in (10, 9, 2, 1, 0, 3, 4, 5, 6, 7, 8)]
    assert resolved(*labels) == ([str(number) for number in range(11)], [int(label) for label in labels])


def test_whole_numbers_written_as_floats_are_whole() -> None:
    assert resolved("0.0", "1.0", "1.") == (["0", "1"], [0, 1, 1])


def test_numbers_among_words_are_words() -> None:
    assert resolved("1", "unknown", "2") == (["1", "2", "unknown"], [0, 2, 1])


def test_given_names_set_the_order() -> None:
    assert resolved("no", "yes", given=["yes", "no"]) == (["yes", "no"], [1, 0])


def test_given_names_name_the_numbers_in_the_file() -> None:
    assert resolved("1", "0", given=["negative", "positive"]) == (["negative", "positive"], [1, 0])


def test_given_names_that_are_numbers_are_matched_as_words() -> None:
    assert resolved("1", "4", "2", "3", given=["1", "2", "3", "4"]) == (["1", "2", "3", "4"], [0, 3, 1, 2])
    assert resolved("0.5", "1.5", given=["0.5", "1.5"]) == (["0.5", "1.5"], [0, 1])


def test_given_names_may_hold_a_class_that_train_lacks() -> None:
    assert resolved("a", "b", given=["a", "b", "c"])[0] == ["a", "b", "c"]


def test_names_of_the_source_count_unless_others_are_given() -> None:
    assert resolved("yes", "no", names=["yes", "no"]) == (["yes", "no"], [0, 1])
    assert resolved("yes", "no", names=["yes", "no"], given=["no", "yes"]) == (["no", "yes"], [1, 0])


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        (("a", "a"), None, r"every label is 'a', expected at least two classes"),
        (("1", "1.0"), None, r"every label is 1, expected at least two classes"),
        (("1", "2", "4"), None, r"the numbers 1, 2, 4, expected 0 to 2 without a gap.*data\.labels"),
        (("0", "999999999999"), None, r"the numbers 0, 999999999999, expected 0 to 1"),
        (("-1", "1"), None, r"the numbers -1, 1, expected 0 to 1"),
        (("1", "0.5", "2"), None, r"train\.csv:3: the label 0\.5 is a fraction"),
        (("a", "b"), ["a", "a"], "expected two or more names, all different"),
        (("a", "b"), ["a"], "expected two or more names"),
        (("a", "b"), [], "data.labels is empty"),
        (
            ("yes", "nope", "yes"),
            ["yes", "nop"],
            r"train\.csv:3: unknown label 'nope', expected one of nop, yes\. Did you",
        ),
        (("0", "1", "2"), ["a", "b"], r"train\.csv:4: the label is '2', expected a whole number from 0 to 1"),
        (("0", "x"), ["a", "b"], r"train\.csv:2: unknown label '0', expected one of a, b"),
    ],
)
def test_wrong_labels_are_explained(labels: tuple[str, ...], given: list[str] | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        resolved(*labels, given=given)


def test_label_that_only_the_test_part_has_is_named_by_its_row() -> None:
    classes = classes_from_part(part("a", "b"), None)
    with pytest.raises(DataError, match=r"train\.csv:4: unknown label 'c', expected one of a, b"):
        classes.numbers(part("a", "b", "c"))


def test_number_out_of_range_in_the_test_part_is_named_by_its_row() -> None:
    classes = classes_from_part(part("0", "1"), None)
    with pytest.raises(DataError, match=r"train\.csv:3: the label is '2', expected a whole number from 0 to 1"):
        classes.numbers(part("0", "2"))


@pytest.mark.parametrize("names", [None, ["no", "yes"]])
def test_hidden_labels_are_explained(names: list[str] | None) -> None:
    classes = classes_from_part(part(*(names or ("0", "1")), names=names), None)
    with pytest.raises(DataError, match=r"train\.csv:2: .* -1 stands for a hidden label"):
        classes.numbers(part("-1", "-1", names=names))


def test_endless_label_is_cut_in_the_message() -> None:
    classes = classes_from_part(part("0", "1"), None)
    with pytest.raises(DataError) as caught:
        classes.numbers(part("x" * 100_000 + "\x1b"))
    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)
