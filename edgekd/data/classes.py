"""From the labels in the files to class numbers, and the names of the classes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from edgekd.data.examples import Numbers
from edgekd.data.parts import Part
from edgekd.errors import DataError
from edgekd.text import did_you_mean, listing, printable

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


@dataclass(frozen=True)
class Classes:
    """The classes of a data set in the order of their numbers; `numbered` where the files hold the numbers."""

    names: list[str]
    numbered: bool

    def numbers(self, part: Part) -> Numbers:
        """The class number of every example of `part`. Errors: DataError naming the row of a label that is none."""
        known = {name: number for number, name in enumerate(self.names)}
        found = {word: _whole(word) if self.numbered else known.get(word) for word in set(part.labels)}
        allowed = range(len(self.names))
        if any(number is None or number not in allowed for number in found.values()):
            row = next(row for row, word in enumerate(part.labels) if found[word] not in allowed)
            raise DataError(f"{part.place(row)}: {self._complaint(part.labels[row])}")
        return np.array([found[word] for word in part.labels], dtype=np.int64)

    def _complaint(self, word: str) -> str:
        shown = printable(repr(word), 80)
        hidden = " -1 stands for a hidden label: name parts with labels in data.train, data.validation and data.test"
        hint = hidden if _whole(word) == -1 else did_you_mean(word, self.names)
        if self.numbered:
            return f"the label is {shown}, expected a whole number from 0 to {len(self.names) - 1}.{hint}"
        return f"unknown label {shown}, expected one of {printable(listing(self.names), 400)}.{hint}"


def classes_from_part(train: Part, given: list[str] | None) -> Classes:
    """The classes of the training part: `given`, those its source names, its numbers 0..k-1, or its sorted words.

    Errors: DataError when there are fewer than two or the numbers leave gaps.
    """
    words = set(train.labels)
    if len(words) < 2:
        only = printable(repr(next(iter(words), "")), 80)
        raise DataError(f"{train.where}: every label is {only}, expected at least two classes")
    names = given if given is not None else train.class_names
    if names is not None:
        return _named(train, names, words)
    wholes = [_whole(word) for word in words]
    present = sorted({number for number in wholes if number is not None})
    if None not in wholes:
        return _counted(train, present)
    fraction = next((word for word in train.labels if _whole(word) is None), "")
    if all(_is_number(word) for word in words):
        place = train.place(train.labels.index(fraction))
        raise DataError(
            f"{place}: the label {printable(fraction, 40)} is a fraction, expected a class: a whole number or a word. "
            "List the values in data.labels if each is a class"
        )
    return Classes(sorted(words), numbered=False)


def _named(train: Part, names: list[str], words: set[str]) -> Classes:
    if len(set(names)) != len(names) or len(names) < 2:
        found = printable(listing(names), 400) or "empty"
        raise DataError(f"{train.where}: data.labels is {found}, expected two or more names, all different")
    all_whole = all(_whole(word) is not None for word in words)
    return Classes(list(names), numbered=all_whole and not words <= set(names))


def _counted(train: Part, present: list[int]) -> Classes:
    if len(present) < 2:
        raise DataError(f"{train.where}: every label is {present[0]}, expected at least two classes")
    if present[0] == 0 and present[-1] == len(present) - 1:
        return Classes([str(number) for number in present], numbered=True)
    found = printable(", ".join(map(str, present[:12])) + (", ..." if len(present) > 12 else ""))
    raise DataError(
        f"{train.where}: the labels are the numbers {found}, expected 0 to {len(present) - 1} without a gap. "
        "List them in data.labels, each in quotes, in the order you want"
    )


def _whole(word: str) -> int | None:
    return int(word.partition(".")[0]) if _WHOLE.fullmatch(word) else None


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
