"""The space of students that a recipe declares: dimensions to choose among, and ties between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Field, model_validator

from edgekd.choices import Choices
from edgekd.config import Model, Number, Share

Dimension = Literal["layers", "hidden", "heads", "head_dim", "kv_heads", "ffn"]
TiedDimension = Literal["layers", "hidden", "heads", "kv_heads", "ffn"]
_TIE = re.compile(r"(?:([0-9]+(?:\.[0-9]+)?) ?\* ?)?(layers|hidden|heads|head_dim|kv_heads|ffn)(?: ?/ ?([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Tie:
    """A dimension that is `factor` times another one, its `source`."""

    factor: Fraction
    source: Dimension


def tie_from_text(text: str) -> Tie:
    """The tie in '4 * hidden', 'hidden / 64' or 'hidden'. Errors: ValueError for anything else."""
    match = _TIE.fullmatch(text.strip())
    factor = Fraction(match[1] or 1) / int(match[3] or 1) if match and int(match[3] or 1) else Fraction(0)
    if match is None or factor <= 0:
        raise ValueError(f"found {text!r}, expected another dimension times or by a number: 4 * hidden or hidden / 64")
    return Tie(factor, cast("Dimension", match[2]))


def _tie_text(value: str) -> str:
    tie_from_text(value)
    return value


class Space(Model):
    """The students to consider: every combination of the choices. What is left out is kept as the teacher has it.

    Heads follow from hidden and head_dim, and key heads from heads, unless they are given. `kv_group` gives key heads
    as query heads per key head, `ffn_ratio` gives ffn as multiples of hidden. `ties` makes a dimension follow another
    one: `{heads: hidden / 64, ffn: 4 * hidden}`. A `head_dim` must divide the teacher's; `sequence` counts tokens.
    `max_share` and `min_share` bound a student's parameters against the teacher's; under `min_share` (1 %) students are
    refused.
    """

    layers: Choices | None = None
    hidden: Choices | None = None
    heads: Choices | None = None
    head_dim: Choices | None = None
    kv_heads: Choices | None = None
    kv_group: Choices | None = None
    ffn: Choices | None = None
    ffn_ratio: list[Annotated[Number, Field(gt=0)]] | None = None
    ties: dict[TiedDimension, Annotated[str, AfterValidator(_tie_text)]] = {}  # noqa: RUF012  pydantic copies defaults
    sequence: Choices | None = None
    max_share: Annotated[Share, Field(gt=0)] = 1.0
    min_share: Annotated[Share, Field(ge=0)] = 0.01

    @model_validator(mode="after")
    def _one_source_each(self) -> Space:
        if self.ffn_ratio == []:
            raise ValueError("ffn_ratio is empty; name at least one value or remove it")
        if self.min_share >= self.max_share:
            raise ValueError("min_share must be below max_share")
        for name, others in (("ffn", ("ffn", "ffn_ratio")), ("kv_heads", ("kv_heads", "kv_group"))):
            if all(getattr(self, other) is not None for other in others):
                raise ValueError(f"give either {' or '.join(others)}, and not both")
            if name in self.ties and getattr(self, others[1]) is not None:
                raise ValueError(f"ties.{name} and {others[1]} contradict each other; remove one of them")
        for name in self.ties:
            if getattr(self, name) is not None:
                raise ValueError(f"ties.{name} and {name} contradict each other; remove one of them")
            self._check_end(name)
        return self

    def _check_end(self, start: Dimension) -> None:
        """Refuse ties that go in a circle."""
        open_names, seen = [start], set[str]()
        while open_names:
            name = open_names.pop()
            sources = self.sources(name)
            if start in sources:
                raise ValueError(f"ties.{start} goes in a circle: it follows from itself; give a dimension as numbers")
            open_names += [source for source in sources if source not in seen]
            seen.update(sources)

    def sources(self, name: Dimension) -> tuple[Dimension, ...]:
        """The dimensions that `name` follows from; none where it is given as numbers or kept as the teacher has it."""
        if name in self.ties:
            return (tie_from_text(self.ties[name]).source,)
        if getattr(self, name) is not None:
            return ()
        if name == "ffn" and self.ffn_ratio is not None:
            return ("hidden",)
        implied: dict[Dimension, tuple[Dimension, ...]] = {"heads": ("hidden", "head_dim"), "kv_heads": ("heads",)}
        return implied.get(name, ())
