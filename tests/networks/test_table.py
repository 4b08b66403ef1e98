"""A table that is no specification is refused by name."""

from dataclasses import dataclass
from typing import Any

import pytest

from edgekd.errors import SpecError
from edgekd.networks.table import from_table


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    sides: tuple[int, ...]
    share: float = 0.0


GOOD = {"name": "box", "sides": [1, 2], "share": 0.5}


def test_lists_become_tuples_and_whole_numbers_shares() -> None:
    assert from_table(Shape, GOOD, "a shape") == Shape(name="box", sides=(1, 2), share=0.5)
    whole = from_table(Shape, {**GOOD, "share": 1}, "a shape")
    assert type(whole.share) is float
    assert from_table(Shape, {"name": "box", "sides": ()}, "a shape").share == 0.0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**GOOD, "colour": 1}, "unknown key 'colour' in a shape, expected name, share, sides"),
        ({"name": "box"}, "a shape lacks 'sides'"),
        ({**GOOD, "name": 3}, "name is 3 in a shape, expected str"),
        ({**GOOD, "sides": 3}, "sides is 3 in a shape, expected a list of int"),
        ({**GOOD, "sides": [1, "2"]}, "expected a list of int"),
        ({**GOOD, "sides": [True]}, "expected a list of int"),
        ({**GOOD, "share": True}, "share is True in a shape, expected float"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        from_table(Shape, table, "a shape")
