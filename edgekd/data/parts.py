"""One part of a data set as it was found: inputs checked cell by cell, labels still as the words in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.data.examples import Examples, Images, Kind, Numbers
from edgekd.data.images import images_from_cells
from edgekd.data.several import label_sets, label_word, named, placed, sentences
from edgekd.data.tables import Table
from edgekd.errors import DataError
from edgekd.recipe import Data
from edgekd.task import Labelling
from edgekd.text import printable

ONLY_CLASS = "text"  # of texts without labels
# Columns that are read where data says nothing and the usual name is not there.
USUAL_TEXTS, USUAL_LABELS = ("tokens", "words"), ("labels", "tags", "ner_tags")
MOST_EMPTY = 0.5  # of a column's texts, our choice: then it is the column that is wrong, and not its rows


@dataclass(frozen=True)
class Part:
    """Inputs and the word of each one's label. `place` says where an example stands, for error messages.

    `class_names` are the classes in the order of the source, where it names them itself. Where an example has any
    number of labels, `sizes` says how many, and `labels` hold those of all one after the other, as `place` numbers
    them; of
    sentences those are the tags of their `words`.
    """

    name: str
    where: str
    labels: list[str]
    place: Callable[[int], str]
    texts: list[str] | None = None
    pairs: list[str] | None = None
    images: Images | None = None
    class_names: list[str] | None = None
    words: list[list[str]] | None = None
    sizes: list[int] | None = None

    @property
    def kind(self) -> Kind:
        """'text' or 'image'."""
        return "image" if self.texts is None else "text"

    def examples(self, labels: Numbers, classes: int = 0) -> Examples:
        """The part with the class numbers `labels`, of `classes` in all where an example has any number of them."""
        if self.sizes is not None and self.words is None:
            several = np.zeros((len(self.sizes), classes), dtype=np.int64)
            several[np.repeat(np.arange(len(self.sizes)), self.sizes), labels] = 1
            labels = several
        return Examples(self.name, labels, self.texts, self.pairs, self.images, self.words)


def wanted_columns(data: Data) -> list[str]:
    """The columns of a table that `data` may need."""
    labels = data.label if isinstance(data.label, list) else [data.label]
    return [
        name
        for name in dict.fromkeys((data.text, data.text_pair, data.image, *labels, *USUAL_TEXTS, *USUAL_LABELS))
        if name
    ]


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
    name: str, table: Table, data: Data, kind: Kind | None, folder: Path, labelling: Labelling = "one"
) -> Part:
    """The part in `table`; images that are named by a path stand in `folder`. A missing text is an empty one.
    With the labelling `none` it is one of texts alone.

    Errors: DataError naming the row, or a column that is mostly empty.
    """
    if labelling == "tokens":
        return _sentences(name, table, data)
    if kind is None:
        kind = "image" if data.image in table.columns and data.text not in table.columns else "text"
    texts = pairs = images = None
    if labelling == "none":
        return unlabelled(name, table.where, texts_of(table, data.text, "data.text"), table.place)
    if kind == "image":
        images = images_from_cells(table.column(data.image, "data.image"), table.place, folder)
    else:
        texts = texts_of(table, data.text, "data.text")
        pairs = None if data.text_pair is None else texts_of(table, data.text_pair, "data.text_pair")
    if labelling == "many":
        sets, names = label_sets(table, data)
        flat = [word for words in sets for word in words]
        place = placed(table, sets, "label")
        return Part(
            name, table.where, named(flat, names), place, texts, pairs, images, names, None, list(map(len, sets))
        )
    if isinstance(data.label, list):
        raise DataError(f"data.label is {data.label}, expected one column; several are for multi-label-classification")
    cells = table.column(data.label, "data.label")
    names = table.class_names.get(data.label)
    labels = named([label_word(cell, table.place(index), str(data.label)) for index, cell in enumerate(cells)], names)
    return Part(name, table.where, labels, table.place, texts, pairs, images, names)


def _sentences(name: str, table: Table, data: Data) -> Part:
    words, tags, names = sentences(table, data)
    texts, flat = [" ".join(each) for each in words], [tag for each in tags for tag in each]
    sizes, place = list(map(len, words)), placed(table, words, "word")
    return Part(name, table.where, named(flat, names), place, texts, None, None, names, words, sizes)


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
