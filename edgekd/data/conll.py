"""CoNLL files: a line for each word, its tag in the last column, and an empty line between sentences.

Source: Tjong Kim Sang and De Meulder 2003, cs/0306050 (the format of the CoNLL-2003 shared task).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.data.tables import Table, file_text
from edgekd.errors import DataError
from edgekd.text import printable

DOCUMENT = "-DOCSTART-"


def read_conll(path: Path) -> Table:
    """The sentences in `path` as a table of the columns tokens and tags, each row at its first line.

    Columns are separated by tabs, or by blanks where a line has no tab; there are at least two, as many in all lines.
    Errors: DataError naming the line.
    """
    columns: dict[str, list[Any]] = {"tokens": [], "tags": []}
    rows: list[int] = []
    expected, inside = 0, False
    for number, line in enumerate(file_text(path).split("\n"), start=1):
        cells = [cell.strip() for cell in line.strip().split("\t")] if "\t" in line.strip() else line.split()
        if not cells or cells[0] == DOCUMENT or not any(cells):
            inside = False
            continue
        expected = expected or len(cells)
        if len(cells) < 2 or len(cells) != expected or not cells[0] or not cells[-1]:
            wanted = f"{expected} as in the first one" if expected > 1 else "at least a word and its tag"
            shown = printable(repr(line), 60)
            raise DataError(f"{path}:{number}: found {len(cells)} columns in {shown}, expected {wanted}. Mend the line")
        if not inside:
            rows.append(number)
            columns["tokens"].append([])
            columns["tags"].append([])
        inside = True
        columns["tokens"][-1].append(cells[0])
        columns["tags"][-1].append(cells[-1])
    if not rows:
        raise DataError(f"{path}: holds no sentence, expected at least two")
    return Table(str(path), list(columns), columns, rows, rows_are_lines=True, class_names={}, word_lines=True)
