"""Data sets that `Dataset.save_to_disk` of the library datasets wrote: a folder of Arrow files with a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.data.extras import library
from edgekd.data.tables import Table, arrow_columns, table_from_arrow
from edgekd.errors import DataError
from edgekd.files import read_json
from edgekd.text import printable

STATE = "state.json"


def is_saved(folder: Path) -> bool:
    """Whether `folder` was written by save_to_disk of one data set; of a DatasetDict its folders were."""
    return folder.is_dir() and (folder / STATE).is_file()


def read_saved(folder: Path, wanted: list[str]) -> Table:
    """The table in `folder` with those columns of `wanted` that it has; rows are counted through all its files.

    Errors: DataError, and RecordError for a damaged list of files.
    """
    state = read_json(folder / STATE)
    files = [_name(entry, folder) for entry in _listed(state, folder)]
    if not files:
        raise DataError(f"{folder}: holds no examples, expected at least two")
    read = [arrow_columns(folder / name, wanted) for name in files]
    if any(table.schema != read[0][0].schema for table, _ in read):
        raise DataError(f"{folder}: its files have different columns, expected the same in each. Save it again")
    table = library("pyarrow").concat_tables([table for table, _ in read])
    if not table.num_rows:
        raise DataError(f"{folder}: holds no examples, expected at least two")
    return table_from_arrow(str(folder), table, read[0][1])


def _listed(state: Any, folder: Path) -> list[Any]:
    files = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(files, list):
        raise DataError(f"{folder / STATE}: lists no files (_data_files), expected what save_to_disk writes")
    return files


def _name(entry: Any, folder: Path) -> str:
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str) or Path(name).name != name:
        found = printable(repr(name), 80)
        raise DataError(f"{folder / STATE}: names the file {found}, expected one in the same folder")
    return name
