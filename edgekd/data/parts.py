"""One part of a data set as it was found: inputs checked cell by cell, labels still as the words in the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.data.examples import Examples, Images, Kind, Numbers
from edgekd.data.images import images_from_cells
from edgekd.data.tables import Table
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.text import printable

ONLY_CLASS = "text"  # of texts without labels
MOST_EMPTY = 0.5  # of a column's texts, our choice: then it is the column that is wrong, and not its rows


@dataclass(frozen=True)
class Part:
    """Inputs and the word of each one's label. `place` says where an example stands, for error messages.

    `class_names` are the classes in the order of the source, where it names them itself.
    """

    name: str
    where: str
    labels: list[str]
    place: Callable[[int], str]
    texts: list[str] | None = None
    pairs: list[str] | None = None
    images: Images | None = None
    class_names: list[str] | None = None

    @property
    def kind(self) -> Kind:
        """'text' or 'image'."""
        return "image" if self.texts is None else "text"

    def examples(self, labels: Numbers) -> Examples:
        """The part with the class numbers `labels`."""
        return Examples(self.name, labels, self.texts, self.pairs, self.images)


def wanted_columns(data: Data) -> list[str]:
    """The columns of a table that `data` may need."""
    return [name for name in dict.fromkeys((data.text, data.text_pair, data.image, data.label)) if name is not None]


def refuse_same(sources: dict[str, str]) -> None:
    """Check that train, validation and test come from different files or splits. Errors: DataError."""
    for part, name in sources.items():
        first = next(other for other, its in sources.items() if its == name)
        if first != part:
            raise DataError(
                f"data.{first} and data.{part} are both {name!r}, expected different parts. Name another one"
            )


def unlabelled(name: str, where: str, texts: list[str], place: Callable[[int], str]) -> Part:
    """A part of texts that have no labels: all are of one class."""
    return Part(name, where, [ONLY_CLASS] * len(texts), place, texts)


def part_from_table(
    name: str, table: Table, data: Data, kind: Kind | None, folder: Path, *, labelled: bool = True
) -> Part:
    """The part in `table`; images that are named by a path stand in `folder`. A missing text is an empty one.
    Without `labelled` it is one of texts alone.

    Errors: DataError naming the row, or a column that is mostly empty.
    """
    if kind is None:
        kind = "image" if data.image in table.columns and data.text not in table.columns else "text"
    texts = pairs = images = None
    if not labelled:
        return unlabelled(name, table.where, texts_of(table, data.text, "data.text"), table.place)
    if kind == "image":
        images = images_from_cells(table.column(data.image, "data.image"), table.place, folder)
    else:
        texts = texts_of(table, data.text, "data.text")
        pairs = None if data.text_pair is None else texts_of(table, data.text_pair, "data.text_pair")
    cells = table.column(data.label, "data.label")
    names = table.class_names.get(data.label)
    labels = [_label(cell, table, index, data.label) for index, cell in enumerate(cells)]
    if names is not None:
        known = {str(number): name for number, name in enumerate(names)}
        labels = [known.get(word, word) for word in labels]
    return Part(name, table.where, labels, table.place, texts, pairs, images, names)


def texts_of(table: Table, name: str, setting: str) -> list[str]:
    """The texts in the column `name`, which `setting` of the recipe names. Errors: DataError, also for mostly none."""
    texts = [_text(cell, table, index, name) for index, cell in enumerate(table.column(name, setting))]
    empty = [index for index, text in enumerate(texts) if not text or text.isspace()]
    if len(empty) > MOST_EMPTY * len(texts):
        raise DataError(
            f"{table.place(empty[0])}: {name} is empty, as it is in {len(empty)} of {len(texts)} rows, expected a text "
            f"in most of them. Name another column in {setting}, or fill this one in"
        )
    return texts


def _text(cell: Any, table: Table, index: int, name: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError:
            raise DataError(f"{table.place(index)}: {name} is not UTF-8 text. Save it as UTF-8") from None
    if not isinstance(cell, str):
        found = printable(repr(cell), 60)
        raise DataError(f"{table.place(index)}: {name} is {found}, expected a text. Name another column in data.text")
    if not cell.isascii() and any("\ud800" <= char <= "\udfff" for char in cell):
        raise DataError(f"{table.place(index)}: {name} holds half a character (a lone surrogate). Write it again")
    return cell


def _label(cell: Any, table: Table, index: int, name: str) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and math.isfinite(cell):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    place = table.place(index)
    if cell is None or isinstance(cell, str):
        raise DataError(f"{place}: {name} is empty, expected the label of a class. Remove the row or fill it in")
    found = printable(repr(cell), 60)
    raise DataError(f"{place}: {name} is {found}, expected one label per example, a whole number or a word")
