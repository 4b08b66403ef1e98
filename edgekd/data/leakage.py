"""Examples of one part that also stand in another: the same input, or a text that is nearly the same.

Nearly the same are texts of which four fifths of all shingles (runs of 5 characters) are common: their Jaccard
similarity is at least 0.8, our choice. Then at most one shingle in nine of either text is another: that of a letter in
fifty characters, or of a short word in eighty. In a shorter sentence another word is another meaning, and no copy.
A text that stands inside the other is a part of it and not a copy: SST-2 holds the phrases of its own sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekd.data.examples import Examples, Numbers
from edgekd.data.minhash import Keys, band_keys, candidates, chance_found, jaccard, shingles

THRESHOLD = 0.8
CHANCE_FOUND = chance_found(THRESHOLD)
MOST_EXAMPLES = 5
COMPARED = (("validation", "train"), ("test", "train"), ("test", "validation"))
NOWHERE = -1


class Inputs:
    """The different inputs of a part that hold anything, and what finds their like in other parts."""

    def __init__(self, part: Examples) -> None:
        blank = set(part.blank)
        kept = [row for row in range(len(part)) if row not in blank]
        inputs = part.keys if part.texts is None else part.normal
        numbers: dict[Any, int] = {}
        self.rows = np.array(kept, dtype=np.int64)
        self.of = np.array([numbers.setdefault(inputs[row], len(numbers)) for row in kept], dtype=np.int64)
        self.numbers: Mapping[Any, int] = numbers
        self.distinct: list[Any] = list(numbers)
        self.first_row = self.rows[np.unique(self.of, return_index=True)[1]]
        self.size = len(part)
        self.bands: Keys | None = None
        if part.texts is not None:
            sides = list(zip(*self.distinct, strict=True)) or [()]
            self.bands = band_keys(sides[0], sides[1] if len(sides) > 1 else None)


@dataclass(frozen=True, eq=False)
class Twins:
    """For each example of a part the number of one like it in another part, and how alike they are; -1 and 0 for none.

    `same` are those with the same input; `whole` says that all candidates were compared. Shapes: [examples].
    """

    other: Numbers
    similarity: npt.NDArray[np.float64]
    same: npt.NDArray[np.bool_]
    whole: bool

    @property
    def rows(self) -> Numbers:
        """The examples that have a twin."""
        return np.flatnonzero(self.other != NOWHERE)


def twins(part: Inputs, other: Inputs) -> Twins:
    """Which examples of `part` have the same or nearly the same input as one of `other`.

    A pair at the threshold is found with the probability CHANCE_FOUND; a pair below it never.
    """
    where = np.array([other.numbers.get(found, NOWHERE) for found in part.distinct], dtype=np.int64)
    equal = where != NOWHERE
    alike, whole = equal.astype(np.float64), True
    if part.bands is not None and other.bands is not None:
        near, whole = _near(part, other, np.flatnonzero(~equal))
        for number, (like, similarity) in near.items():
            where[number], alike[number] = like, similarity
    found = Twins(np.full(part.size, NOWHERE), np.zeros(part.size), np.zeros(part.size, dtype=np.bool_), whole)
    mine = where[part.of]
    has = mine != NOWHERE
    found.other[part.rows[has]] = other.first_row[mine[has]]
    found.similarity[part.rows], found.same[part.rows] = alike[part.of], equal[part.of]
    return found


def _near(part: Inputs, other: Inputs, numbers: Numbers) -> tuple[dict[int, tuple[int, float]], bool]:
    """For those of `numbers` that are nearly the same as an input of `other`: which one, and how alike they are."""
    found: dict[int, tuple[int, float]] = {}
    compared: set[tuple[int, int]] = set()
    whole = True
    if part.bands is None or other.bands is None or not len(numbers):
        return found, whole
    for rows, likes, all_pairs in candidates(part.bands[numbers], other.bands):
        whole &= all_pairs
        for pair in zip(numbers[rows].tolist(), likes.tolist(), strict=True):
            if pair[0] in found or pair in compared:
                continue
            compared.add(pair)
            similarity = nearness(part.distinct[pair[0]], other.distinct[pair[1]])
            if similarity >= THRESHOLD:
                found[pair[0]] = pair[1], similarity
    return found, whole


def nearness(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two normalised inputs are: of each text the Jaccard similarity to its counterpart, the least of these.

    0 where a text stands inside its counterpart.
    """
    return min(_alike(a, b) for a, b in zip(one, other, strict=True))


def _alike(one: str, other: str) -> float:
    if one == other:
        return 1.0
    return 0.0 if one in other or other in one else jaccard(shingles(one), shingles(other))


def repeats(part: Examples) -> int:
    """How many examples of `part` have the same input as one before them in it. Blank texts are like nothing."""
    blank = set(part.blank)
    kept = [key for row, key in enumerate(part.keys) if row not in blank]
    return len(kept) - len(set(kept))


def without_leaked(train: Examples, others: Sequence[Examples]) -> Examples:
    """`train` without the examples that also stand in one of `others`."""
    mine, leaked = Inputs(train), np.zeros(len(train), dtype=np.bool_)
    for other in others:
        leaked[twins(mine, Inputs(other)).rows] = True
    return train.subset(np.flatnonzero(~leaked)) if leaked.any() else train


@dataclass(frozen=True)
class Leak:
    """Of `examples` in `part` so many have the `same` input as one in `other`, and so many `nearly` the same.

    `shown` are up to five of them: row and other_row count from 1, texts as in the files; `whole` as in Twins.
    """

    part: str
    other: str
    examples: int
    same: int
    nearly: int
    whole: bool
    shown: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Examples of `part` that also stand in `other`."""
        return self.same + self.nearly

    @property
    def share(self) -> float:
        """The share of `part` that also stands in `other`."""
        return self.count / self.examples if self.examples else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "part": self.part, "other": self.other, "examples": self.examples, "same": self.same,
            "nearly": self.nearly, "share": self.share, "whole": self.whole, "shown": self.shown,
        }  # fmt: skip


def leaks(parts: Mapping[str, Examples]) -> list[Leak]:
    """What of the validation part stands in the training part, and of the test part in either of the two."""
    inputs = {name: Inputs(part) for name, part in parts.items()}
    found = []
    for name, other in COMPARED:
        alike = twins(inputs[name], inputs[other])
        shown = [_shown(parts[name], parts[other], row, alike) for row in _picked(alike)]
        count, same = len(alike.rows), int(alike.same.sum())
        found.append(Leak(name, other, len(parts[name]), same, count - same, alike.whole, shown))
    return found


def _picked(alike: Twins) -> list[int]:
    """Up to five rows that have a twin, evenly spaced from the least alike to the most."""
    rows = alike.rows
    ordered = rows[np.argsort(alike.similarity[rows], kind="stable")]
    many = min(MOST_EXAMPLES, len(ordered))
    return [int(ordered[index * (len(ordered) - 1) // max(1, many - 1)]) for index in range(many)]


def _shown(part: Examples, other: Examples, row: int, alike: Twins) -> dict[str, Any]:
    like = int(alike.other[row])
    return {
        "row": row + 1, "other_row": like + 1, "similarity": float(alike.similarity[row]),
        "text": part.shown(row), "other_text": other.shown(like),
    }  # fmt: skip
