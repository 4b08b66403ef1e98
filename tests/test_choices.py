"""One number, a list or a range: what a recipe may give where it has to choose."""

import pytest
from pydantic import TypeAdapter, ValidationError

from edgekd.choices import MOST_VALUES, Choices

READ = TypeAdapter(Choices)


def test_a_number_a_list_and_a_range_are_lists() -> None:
    assert READ.validate_python(3) == [3]
    assert READ.validate_python([3, 5]) == [3, 5]
    assert READ.validate_python({"from": 2, "to": 9, "step": 3}) == [2, 5, 8]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "the list is empty"),
        ([0], "greater than or equal to 1"),
        (True, "found True, expected a whole number, a list of them, or a range"),
        (1.5, "found 1.5, expected a whole number, a list of them, or a range"),
        ({"from": 3, "to": 1}, "is empty; swap the two"),
        ({"from": 1, "to": MOST_VALUES + 1}, "enlarge its step"),
        ({"from": 1, "until": 2}, "until"),
    ],
)
def test_anything_else_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READ.validate_python(given)
