from fractions import Fraction

import pytest
from pydantic import ValidationError

from edgekd.recipe import load_recipe
from edgekd.space import Space, tie_from_text


@pytest.mark.parametrize(
    ("text", "factor", "source"),
    [
        ("4 * hidden", Fraction(4), "hidden"),
        ("hidden / 64", Fraction(1, 64), "hidden"),
        ("2.5*layers", Fraction(5, 2), "layers"),
        ("3 * hidden / 4", Fraction(3, 4), "hidden"),
        (" heads ", Fraction(1), "heads"),
    ],
)
def test_a_tie_is_another_dimension_times_or_by_a_number(text: str, factor: Fraction, source: str) -> None:
    tie = tie_from_text(text)
    assert (tie.factor, tie.source) == (factor, source)


def test_a_recipe_with_ties_comes_back_from_what_a_run_stores() -> None:
    space = load_recipe("sst2", ["space={hidden: [96, 192], ties: {ffn: 4 * hidden, heads: hidden / 32}}"]).space
    assert Space.model_validate(space.model_dump(mode="json")) == space
    assert space.sources("heads") == ("hidden",)
    assert (space.sources("kv_heads"), space.sources("layers")) == (("heads",), ())


@pytest.mark.parametrize("text", ["hidden - 64", "hidden / 0", "0 * hidden", "width", ""])
def test_anything_else_is_no_tie(text: str) -> None:
    with pytest.raises(ValueError, match="expected another dimension times or by a number"):
        tie_from_text(text)


def test_choices_are_a_number_a_list_or_a_range() -> None:
    space = Space.model_validate({"layers": 3, "hidden": [64, 128], "heads": {"from": 2, "to": 9, "step": 3}})
    assert (space.layers, space.hidden, space.heads) == ([3], [64, 128], [2, 5, 8])
    with pytest.raises(ValidationError, match="the range holds 1000000 values, expected at most 100000"):
        Space.model_validate({"layers": {"from": 1, "to": 1_000_000}})
    with pytest.raises(ValidationError, match="the range from 4 to 2 is empty"):
        Space.model_validate({"layers": {"from": 4, "to": 2}})
    with pytest.raises(ValidationError, match="the list is empty"):
        Space.model_validate({"layers": []})
