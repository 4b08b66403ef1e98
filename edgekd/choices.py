"""Whole numbers to choose among, as a recipe gives them: one, a list, or a range."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from edgekd.config import Model
from edgekd.text import printable

MOST_VALUES = 100_000  # of one dimension, our choice: more than any dimension of a transformer has

Count = Annotated[int, Field(ge=1)]


class Range(Model):
    """Every `step`-th whole number between `from` and `to`, both included."""

    first: Count = Field(alias="from")
    last: Count = Field(alias="to")
    step: Count = 1

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.last < self.first:
            raise ValueError(f"the range from {self.first} to {self.last} is empty; swap the two")
        return self


def _choices(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, dict):
        span = Range.model_validate(value)
        values = range(span.first, span.last + 1, span.step)
        if len(values) > MOST_VALUES:
            raise ValueError(f"the range holds {len(values)} values, expected at most {MOST_VALUES}; enlarge its step")
        return list(values)
    if not isinstance(value, list):
        found = printable(repr(value), 40)
        raise ValueError(
            f"found {found}, expected a whole number, a list of them, or a range such as {{from: 1, to: 6}}"
        )
    if not value:
        raise ValueError("the list is empty; name at least one value")
    return value


Choices = Annotated[
    list[Count],
    BeforeValidator(_choices, json_schema_input_type=int | list[int] | Range),
]
