"""What two parts of a collection of documents have in common: passages, for no two documents need be the same.

A passage is what stands between two blank lines. One of more than 2000 characters is taken line by line: many files
hold a whole paragraph in a line. Passages of fewer than 50 visible characters do not count, for headings and greetings
stand in many documents that have nothing else in common. Both numbers are our choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekd.data.examples import Examples
from edgekd.data.leakage import Inputs, twins
from edgekd.data.normalise import normalised
from edgekd.errors import DataError

LEAST_CHARACTERS = 50
MOST_CHARACTERS = 2000

_BLANK = re.compile(r"(\n[ \t\r]*\n\s*)")
_LINE = re.compile(r"(\n\s*)")


def pieces(text: str) -> list[str]:
    """`text` in passages and what stands between them, in turns; joined they are `text` again."""
    found: list[str] = []
    for at, piece in enumerate(_BLANK.split(text)):
        if at % 2 == 0 and len(piece) > MOST_CHARACTERS:
            found += _LINE.split(piece)
        else:
            found.append(piece)
    return found


def passages(part: Examples) -> Examples:
    """The passages that count of all documents in `part`, in their order, as examples of one class."""
    found = [passage for text in part.texts or [] for passage in pieces(text)[::2] if _counts(passage)]
    return Examples(part.name, np.zeros(len(found), dtype=np.int64), found)


def without_shared(train: Examples, others: Sequence[Examples]) -> tuple[Examples, int]:
    """`train` without the passages that also stand in `others`, the same or nearly, and how many these were.

    A document of which nothing is left is left out. Errors: DataError when no document is left.
    """
    own = passages(train)
    mine, shared = Inputs(own), np.zeros(len(own), dtype=np.bool_)
    for other in others:
        shared[twins(mine, Inputs(passages(other))).rows] = True
    if not shared.any():
        return train, 0
    texts, at = [], 0
    for text in train.texts or []:
        kept: list[str] = []
        parts = pieces(text)
        for passage, after in zip(parts[::2], [*parts[1::2], ""], strict=True):
            drop = _counts(passage) and bool(shared[at])
            at += _counts(passage)
            kept += [] if drop else [passage, after]
        texts.append("".join(kept))
    rows = [row for row, text in enumerate(texts) if text.strip()]
    if not rows:
        raise DataError(
            f"{train.name}: each passage of its {len(train)} documents also stands in the validation or test part, and "
            "data.drop_leaked leaves nothing to train on. Name other parts in data.validation and data.test"
        )
    return replace(train.subset(rows), texts=[texts[row] for row in rows]), int(shared.sum())


def _counts(passage: str) -> bool:
    return len(passage) >= LEAST_CHARACTERS and len(normalised(passage)) >= LEAST_CHARACTERS
