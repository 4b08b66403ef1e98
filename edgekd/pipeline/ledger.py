"""What a run folder holds: which step made which files from which inputs, by content hash.

A step whose inputs have not changed and whose files are still as it left them is not run again. The ledger is written
after a step's files, so a kill at any point leaves either the old entry or the new one with its files complete.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgekd.errors import InputError, RecordError
from edgekd.files import make_folder, read_json, sha256_of_file, write_error, write_json

LEDGER = "ledger.json"
LOCK = ".lock"
SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class Entry:
    """One step that ended: the hash of its inputs, and the hash of every file it left."""

    inputs: str
    files: dict[str, str]


class Ledger:
    """The ledger of the run folder `root`. Errors: RecordError when the file is damaged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / LEDGER
        self._entries: dict[str, Entry] = self._read() if self.path.exists() else {}

    def _read(self) -> dict[str, Entry]:
        mend = "Remove it to run every step again, or choose another --out"
        try:
            table = read_json(self.path)
        except RecordError as error:
            raise RecordError(f"{error}. {mend}") from None
        try:
            return _entries(table)
        except (KeyError, TypeError, AttributeError):
            raise RecordError(f"{self.path}: is not a ledger of edgekd, version {SCHEMA_VERSION}. {mend}") from None

    def entry(self, step: str) -> Entry | None:
        """What `step` left, or None when it has not ended yet."""
        return self._entries.get(step)

    def is_current(self, step: str, inputs: str) -> bool:
        """Whether `step` ended with these inputs and its files are still as it left them."""
        entry = self._entries.get(step)
        return entry is not None and entry.inputs == inputs and not self.changed_files(step)

    def changed_files(self, step: str) -> list[str]:
        """The files of `step` that are gone or not as it left them."""
        entry = self._entries.get(step)
        if entry is None:
            return []
        return [
            name
            for name, digest in entry.files.items()
            if not (self.root / name).is_file() or sha256_of_file(self.root / name) != digest
        ]

    def forget(self, step: str) -> None:
        """Drop the entry of `step`, because it is about to run again."""
        if self._entries.pop(step, None) is not None:
            self._write()

    def record(self, step: str, inputs: str, paths: Iterable[Path]) -> Entry:
        """Enter `step` as ended, with every file in `paths` (folders: every file inside)."""
        files = sorted(file for path in paths for file in _files_in(path))
        entry = Entry(inputs, {file.relative_to(self.root).as_posix(): sha256_of_file(file) for file in files})
        self._entries[step] = entry
        self._write()
        return entry

    def adopt(self, entries: Mapping[str, Entry]) -> None:
        """Enter steps as they ended elsewhere; their files are in place."""
        self._entries |= entries
        self._write()

    def _write(self) -> None:
        steps: dict[str, Any] = {n: {"inputs": e.inputs, "files": e.files} for n, e in self._entries.items()}
        write_json(self.path, {"schema_version": SCHEMA_VERSION, "steps": steps})


def _entries(table: Any) -> dict[str, Entry]:
    """The entries by step. Errors: KeyError, TypeError or AttributeError for a table that is no ledger of ours."""
    if table["schema_version"] != SCHEMA_VERSION:
        raise KeyError(table["schema_version"])
    return {name: Entry(str(item["inputs"]), _hashes(item["files"])) for name, item in table["steps"].items()}


def _hashes(table: Any) -> dict[str, str]:
    """The hashes by file. Errors: KeyError for a file outside the run folder, which is never one of ours."""
    for name in table:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise KeyError(name)
    return {str(name): str(digest) for name, digest in table.items()}


def _files_in(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    else:
        yield path


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the run folder for one process; the kernel frees it when the process ends, however it ends.

    Errors: InputError when another process holds it, or nobody may write there.
    """
    make_folder(root)
    try:
        stream = (root / LOCK).open("a")
    except OSError as error:
        raise write_error(root / LOCK, error) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{root}: another edgekd is running there. Wait for it, or choose another --out") from None
        yield
