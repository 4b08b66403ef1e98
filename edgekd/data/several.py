"""Cells that hold several labels: those of an example, and the words of a sentence with their tags."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekd.data.tables import Table
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.text import printable

_TRUE, _FALSE = {"1", "true"}, {"0", "false", ""}


def label_word(cell: Any, place: str, name: str) -> str:
    """The label in a cell as a word. Errors: DataError."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and math.isfinite(cell):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    if cell is None or isinstance(cell, str):
        raise DataError(f"{place}: {name} is empty, expected the label of a class. Remove the row or fill it in")
    found = printable(repr(cell), 60)
    raise DataError(f"{place}: {name} is {found}, expected one label per example, a whole number or a word")


def named(labels: list[str], names: list[str] | None) -> list[str]:
    """`labels` with numbers replaced by the `names` that the source gives them."""
    if names is None:
        return labels
    known = {str(number): name for number, name in enumerate(names)}
    return [known.get(word, word) for word in labels]


def placed(table: Table, rows: Sequence[Sequence[Any]], what: str) -> Callable[[int], str]:
    """Where the label of each number stands, when those of all `rows` are counted one after the other."""
    ends = np.cumsum([len(row) for row in rows])

    def place(label: int) -> str:
        row = int(np.searchsorted(ends, label, side="right"))
        within = label - int(ends[row]) + len(rows[row])
        if table.word_lines:
            return f"{table.where}:{table.rows[row] + within}"
        return f"{table.place(row)}, {what} {within + 1}"

    return place


def label_sets(table: Table, data: Data) -> tuple[list[list[str]], list[str] | None]:
    """The labels of each example, each once, and the names that the source has for them.

    A cell holds a list, or a text that is split at data.label_separator, and may be empty; of several columns, each is
    a
    label and holds 1 or 0. Errors: DataError naming the row.
    """
    if isinstance(data.label, list):
        return _from_columns(table, data.label)
    name = column_name(table, data.label, "label", ("labels",))
    found = []
    for index, cell in enumerate(table.column(name, "data.label")):
        if cell is None or isinstance(cell, str):
            words = [word.strip() for word in (cell or "").split(data.label_separator)]
            cells: list[Any] = [word for word in words if word]
        else:
            cells = cell if isinstance(cell, list) else [cell]
        found.append(list(dict.fromkeys(label_word(each, table.place(index), name) for each in cells)))
    return found, table.class_names.get(name)


def _from_columns(table: Table, columns: list[str]) -> tuple[list[list[str]], list[str]]:
    sets: list[list[str]] = [[] for _ in table.rows]
    for column in columns:
        for index, cell in enumerate(table.column(column, "data.label")):
            word = "" if cell is None else label_word(cell, table.place(index), column).lower() if cell != "" else ""
            if word not in _TRUE | _FALSE:
                found = printable(repr(cell), 60)
                raise DataError(
                    f"{table.place(index)}: {column} is {found}, expected 1 where the label applies, else 0"
                )
            if word in _TRUE:
                sets[index].append(column)
    return sets, columns


def sentences(table: Table, data: Data) -> tuple[list[list[str]], list[list[str]], list[str] | None]:
    """The words of each sentence, their tags, and the names that the source has for these.

    Errors: DataError naming the row.
    """
    if isinstance(data.label, list):
        raise DataError(f"data.label is {data.label}, expected one column with a list of tags")
    text = column_name(table, data.text, "text", ("tokens", "words"))
    label = column_name(table, data.label, "label", ("tags", "ner_tags", "labels"))
    words, tags = [], []
    cells = zip(table.column(text, "data.text"), table.column(label, "data.label"), strict=True)
    for index, (said, marks) in enumerate(cells):
        place = table.place(index)
        for name, setting, cell in ((text, "data.text", said), (label, "data.label", marks)):
            if not isinstance(cell, list) or not cell:
                found = printable(repr(cell), 60)
                raise DataError(f"{place}: {name} is {found}, expected a list, not empty. Name the column in {setting}")
        odd = next((word for word in said if not isinstance(word, str) or not word.strip()), None)
        if odd is not None or None in said:
            raise DataError(f"{place}: {text} holds {printable(repr(odd), 60)}, expected words. Remove or mend it")
        if len(said) != len(marks):
            raise DataError(
                f"{place}: found {len(said)} words in {text} and {len(marks)} tags in {label}, "
                "expected a tag for each word"
            )
        words.append([word.strip() for word in said])
        tags.append([label_word(mark, place, label) for mark in marks])
    return words, tags, table.class_names.get(label)


def column_name(table: Table, given: str, usual: str, others: Sequence[str]) -> str:
    """The column `given`; where that is what stands in every recipe and the table has none, the first of `others`."""
    if given != usual or given in table.columns:
        return given
    return next((name for name in others if name in table.columns), given)
