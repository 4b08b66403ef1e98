"""The data behind a verdict, told beside it."""

from dataclasses import replace

from page_reader import Page

from edgekd.report.data import data, data_warnings, part_rows
from edgekd.report.markup import join
from edgekd.report.run import DataFile, RunFolder


def _file(run: RunFolder, **changes: object) -> DataFile:
    assert run.data is not None
    return run.data.model_copy(update=changes)


def test_a_row_for_each_part_with_what_stands_in_another(whole: RunFolder) -> None:
    assert part_rows(_file(whole)) == [
        (
            "part",
            "examples",
            "classes",
            "smallest",
            "largest",
            "also in train",
            "also in validation",
            "blank",
            "cut off",
        ),
        ("train", "1293", "10", "120", "129", "-", "-", "3", "95"),
        ("validation", "144", "10", "14", "14", "0", "-", "0", "11"),
        ("test", "360", "10", "36", "36", "9 (2.5 %)", "0", "0", "4"),
    ]


def test_images_have_no_texts_to_tell_of(whole: RunFolder) -> None:
    file = _file(whole, blank={}, truncated=None, max_length=None)
    assert [len(row) for row in part_rows(file)] == [7] * 4
    said = Page(join(data(replace(whole, data=file))).text).said
    assert "the same to the pixel" in said
    assert "tokens" not in said


def test_what_no_tokenizer_counted_is_unknown(whole: RunFolder) -> None:
    assert part_rows(_file(whole, truncated=None))[1][-2:] == ("3", "-")


def test_a_class_that_a_part_lacks_is_not_its_smallest(whole: RunFolder) -> None:
    first, *rest = _file(whole).classes
    rows = part_rows(_file(whole, classes=[first.model_copy(update={"test": 0}), *rest]))
    assert rows[3][2:5] == ("9", "36", "36")


def test_the_page_tells_warnings_counts_and_examples(whole: RunFolder) -> None:
    said = Page(join(data_warnings(whole), data(whole)).text).said
    for word in (
        "9 of 360 test examples (2.5 %) also stand in train.", "texts of more than 64 tokens", "9 (2.5 %)",
        "31 training examples were left out", "test, 7", "train, 940", "a griping film", "87.4 %", "The 10 classes", "129",
    ):  # fmt: skip
        assert word in said


def test_nothing_is_said_of_data_that_nobody_looked_at(whole: RunFolder) -> None:
    assert data(replace(whole, data=None)) is None
    assert data_warnings(replace(whole, data=None)) is None
    assert data_warnings(replace(whole, data=_file(whole, warnings=[]))) is None
