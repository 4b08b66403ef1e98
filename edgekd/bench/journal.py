"""Which runs were begun on boards, kept beside the records: a command that was killed finds its runs again.

A run's name is stored before the run is begun, and its result before it is removed from the board, so a kill at any
point loses neither. Whoever writes the records clears the journal afterwards.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import RecordError
from edgekd.files import content_hash, read_bytes, read_json, sha256_of_bytes, write_bytes, write_error, write_json

_FORMAT = 1
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RUN = re.compile("[0-9a-z]{26}")


def new_run() -> str:
    """A name that no other run has: 26 digits and small letters."""
    return "".join(secrets.choice(_LETTERS) for _ in range(26))


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that came home: its bytes, and how many times it holds."""

    data: bytes
    samples: int


@dataclass(frozen=True)
class Journal:
    """The journal in `folder`; without one, runs get names and nothing is remembered.

    Errors: RecordError for an entry that is none of ours; StorageError and InputError where nothing can be written.
    """

    folder: Path | None = None

    def run_of(self, key: str) -> str:
        """The run that was begun for `key`, or a new one, which is stored before anybody hears of it."""
        if self.folder is None:
            return new_run()
        entry = self._entry(key)
        if entry is None:
            entry = {"format": _FORMAT, "run": new_run()}
            write_json(self._path(key), entry)
        return str(entry["run"])

    def keep(self, key: str, run: str, kept: Kept) -> None:
        """Store the result of `key`."""
        if self.folder is None:
            return
        write_bytes(self._path(key, "result"), kept.data)
        digest = sha256_of_bytes(kept.data)
        write_json(self._path(key), {"format": _FORMAT, "run": run, "samples": kept.samples, "sha256": digest})

    def kept(self, key: str) -> Kept | None:
        """The stored result of `key`; None when none came home yet."""
        entry = None if self.folder is None else self._entry(key)
        if entry is None or "sha256" not in entry:
            return None
        path = self._path(key, "result")
        data = read_bytes(path)
        if sha256_of_bytes(data) != entry["sha256"]:
            raise RecordError(f"{path}: is damaged: another SHA-256 than {self._path(key)} says. Remove both")
        return Kept(data, int(entry["samples"]))

    def forget(self, key: str) -> None:
        """The run of `key` ended without a result: the next one is a new one."""
        if self.folder is not None:
            for path in (self._path(key), self._path(key, "result")):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise write_error(path, error) from None
            with contextlib.suppress(OSError):  # it holds other runs
                self.folder.rmdir()

    def clear(self) -> None:
        """Forget all: what was measured stands in records now, or is not to be used."""
        if self.folder is not None and self.folder.exists():
            try:
                shutil.rmtree(self.folder)
            except OSError as error:
                raise write_error(self.folder, error) from None

    def _entry(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        if not path.exists():
            return None
        entry = read_json(path, max_bytes=1 << 16)
        run = entry.get("run") if isinstance(entry, dict) and entry.get("format") == _FORMAT else None
        if not isinstance(run, str) or not _RUN.fullmatch(run):
            raise RecordError(f"{path}: names no run of a board, in format {_FORMAT}. Remove it and run again")
        return dict(entry)

    def _path(self, key: str, kind: str = "json") -> Path:
        if self.folder is None:
            raise RecordError("a journal without a folder holds no files")
        return self.folder / f"{key[:32]}.{kind}"


def key_of(*parts: Any) -> str:
    """The key for what a run depends on."""
    return content_hash(list(parts))
