"""Tables in files: CSV, TSV, JSON lines, Parquet and Arrow, read whole, with every row's place for error messages."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.data.extras import library
from edgekd.errors import DataError
from edgekd.files import open_or_fail
from edgekd.text import did_you_mean, listing, printable

SEPARATORS = (",", ";", "\t", "|")
GZIP = b"\x1f\x8b"
ARROW_FILE = b"ARROW1"  # what begins a file of the IPC format; a stream, which datasets writes, has no such mark


@dataclass(frozen=True)
class Table:
    """The wanted columns of a file, of equal length; `names` are all columns that the file has.

    `rows` are the lines (or row numbers, from 1) where each row stands in `where`. `class_names` holds, by column, the
    names of classes that the file itself gives to its numbers. With `word_lines` every word of
    a row has a line of its own.
    """

    where: str
    names: list[str]
    columns: dict[str, list[Any]]
    rows: list[int]
    rows_are_lines: bool
    class_names: dict[str, list[str]]
    word_lines: bool = False

    def place(self, index: int) -> str:
        """'train.csv:17', or 'train.parquet: row 17' where a file has no lines."""
        return f"{self.where}:{self.rows[index]}" if self.rows_are_lines else f"{self.where}: row {self.rows[index]}"

    def column(self, name: str, setting: str) -> list[Any]:
        """The cells of the column that `setting` of the recipe names. Errors: DataError listing the columns."""
        if name not in self.columns:
            found = printable(listing(self.names), 400) or "none"
            hint = did_you_mean(name, self.names)
            raise DataError(f"{self.where}: has no column {name!r}, found {found}. Name the column in {setting}.{hint}")
        return self.columns[name]


def read_table(path: Path, form: str, wanted: list[str]) -> Table:
    """The table in the file `path` of the format `form`, with those columns of `wanted` that it has.

    Errors: DataError naming the line or row.
    """
    readers = {"csv": _read_csv, "tsv": _read_tsv, "jsonl": _read_jsonl, "parquet": _read_parquet, "arrow": _read_arrow}
    table = readers[form](path, wanted)
    if not table.rows:
        raise DataError(f"{path}: holds no examples, expected at least two")
    return table


def file_bytes(path: Path) -> bytes:
    """What is in `path`, unzipped where it is a gzip file. Errors: DataError."""
    if path.is_dir():
        raise DataError(f"{path}: this is a folder, expected a file")
    if not path.exists():
        raise DataError(f"{path}: no such file.{_nearby(path)}")
    with open_or_fail(path) as stream:
        data: bytes = stream.read()
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is a damaged gzip file ({error}). Fetch it again") from None


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either"
    names = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    found = f" The folder holds {printable(listing(names), 400)}." if names else " The folder is empty."
    return found + did_you_mean(path.name, names)


def file_text(path: Path) -> str:
    """The text in `path` without its byte order mark. Errors: DataError naming the line that is not UTF-8."""
    data = file_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x}"
        raise DataError(f"{path}:{line}: is not UTF-8 text (found the byte {byte}). Save it as UTF-8") from None


def _read_csv(path: Path, wanted: list[str]) -> Table:
    text = file_text(path)
    with _any_field_size():
        records = _csv_records(text, _separator(text, wanted), path)
        header_line, header = next(records, (1, []))
        names = _header(path, header_line, header, wanted)
        return _table(path, names, records, wanted, mend="Quote cells that hold the separator")


def _separator(text: str, wanted: list[str]) -> str:
    """The separator under which the first record names most of the `wanted` columns, a comma where none does."""
    line = text.lstrip("\r\n").partition("\n")[0].partition("\r")[0]

    def score(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([line], delimiter=separator), [])
        return sum(name in {cell.strip() for cell in cells} for name in wanted), len(cells)

    return max(SEPARATORS, key=score)


def _csv_records(text: str, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not empty, with the line it starts in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: the record that starts here is not valid CSV ({error}). Check its quotes"
        ) from (None)


@contextmanager
def _any_field_size() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB for one cell: documents are longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_tsv(path: Path, wanted: list[str]) -> Table:
    # Quotes have no meaning in TSV: the texts of SST-2 hold stray ones.
    text = file_text(path)
    lines = (text if "\n" in text else text.replace("\r", "\n")).split("\n")
    records = ((number, line.removesuffix("\r").split("\t")) for number, line in enumerate(lines, start=1))
    filled = ((number, cells) for number, cells in records if cells != [""])
    header_line, header = next(filled, (1, []))
    names = _header(path, header_line, header, wanted)
    return _table(path, names, filled, wanted, mend="A cell of TSV cannot hold a tab")


def _header(path: Path, line: int, cells: list[str], wanted: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}: is empty, expected a header line with the names of the columns")
    twice = sorted({name for name in names if names.count(name) > 1} & set(wanted))
    if twice:
        raise DataError(f"{path}:{line}: the column {twice[0]!r} stands twice in the header. Rename one of them")
    return names


def _table(
    path: Path, names: list[str], records: Iterator[tuple[int, list[str]]], wanted: list[str], *, mend: str
) -> Table:
    present = {name: names.index(name) for name in wanted if name in names}
    columns: dict[str, list[Any]] = {name: [] for name in present}
    rows = []
    for line, record in records:
        if len(record) != len(names):
            raise DataError(f"{path}:{line}: found {len(record)} cells, expected {len(names)} as in the header. {mend}")
        rows.append(line)
        for name, at in present.items():
            columns[name].append(record[at])
    return Table(str(path), names, columns, rows, rows_are_lines=True, class_names={})


def _read_jsonl(path: Path, wanted: list[str]) -> Table:
    names: dict[str, None] = {}
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    rows = []
    for number, line in enumerate(file_text(path).split("\n"), start=1):
        if line.strip():
            record = _json_object(line, f"{path}:{number}")
            names.update(dict.fromkeys(record))
            rows.append(number)
            for name, cells in columns.items():
                cells.append(record.get(name))
    present = {name: cells for name, cells in columns.items() if name in names}
    return Table(str(path), list(names), present, rows, rows_are_lines=True, class_names={})


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        hint = ". Write one object per line, not a list of them" if line.lstrip().startswith("[") else ""
        raise DataError(f"{place}: is not valid JSON ({error.msg} in column {error.colno}){hint}") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{place}: holds a JSON value that cannot be read ({error})") from None
    if not isinstance(value, dict):
        found = printable(line, 60)
        raise DataError(f"{place}: found {found}, expected one JSON object per line, such as {{'text': ..., ...}}")
    return value


def _read_parquet(path: Path, wanted: list[str]) -> Table:
    arrow, parquet = library("pyarrow"), library("pyarrow.parquet")
    data = file_bytes(path)
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        names = file.schema_arrow.names
        twice = sorted({name for name in names if names.count(name) > 1} & set(wanted))
        if twice:
            raise DataError(f"{path}: the column {twice[0]!r} stands twice. Rename one of them")
        table = file.read(columns=[name for name in names if name in wanted])
    except (arrow.ArrowException, OSError) as error:
        said = printable(str(error).partition("\n")[0], 200)
        raise DataError(f"{path}: is not a readable Parquet file ({said}). Fetch or write it again") from None
    return table_from_arrow(str(path), table, names)


def _read_arrow(path: Path, wanted: list[str]) -> Table:
    table, names = arrow_columns(path, wanted)
    return table_from_arrow(str(path), table, names)


def arrow_columns(path: Path, wanted: list[str]) -> tuple[Any, list[str]]:
    """The Arrow table in the IPC file or stream `path`, with those columns of `wanted` that it has, and all names.

    Errors: DataError.
    """
    arrow, ipc = library("pyarrow"), library("pyarrow.ipc")
    data = file_bytes(path)
    try:
        buffer = arrow.BufferReader(data)
        table = (ipc.open_file if data.startswith(ARROW_FILE) else ipc.open_stream)(buffer).read_all()
        # Offsets that lead out of the file would be followed.
        table.validate(full=True)
    except (arrow.ArrowException, OSError) as error:
        said = printable(str(error).partition("\n")[0], 200)
        raise DataError(f"{path}: is not a readable Arrow file ({said}). Fetch or write it again") from None
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1} & set(wanted))
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} stands twice. Rename one of them")
    return table.select([name for name in names if name in wanted]), names


def table_from_arrow(where: str, table: Any, names: list[str]) -> Table:
    """The Arrow `table`, read from `where`, where all the columns in `names` stand."""
    features = library("datasets").Features.from_arrow_schema(table.schema)
    return Table(
        where,
        names,
        {name: table.column(name).to_pylist() for name in table.column_names},
        list(range(1, table.num_rows + 1)),
        rows_are_lines=False,
        class_names={
            name: list(inner.names)
            for name, kind in features.items()
            if hasattr(inner := getattr(kind, "feature", kind), "names")
        },
    )
