"""verdict.json and junit.xml: written whole or not at all, read back without trust."""

from __future__ import annotations

from pathlib import Path

from edgekd.files import read_json, write_json, write_text
from edgekd.gate.junit import junit_text
from edgekd.gate.verdict import Verdict


def write_verdict(verdict: Verdict, path: Path) -> None:
    """Store `verdict` at `path`; equal verdicts give equal files. Errors: InputError, StorageError."""
    write_json(path, verdict.to_dict())


def read_verdict(path: Path) -> Verdict:
    """The verdict in the file at `path`. Errors: InputError when unreadable, RecordError when it is none."""
    return Verdict.from_dict(read_json(path), str(path))


def write_junit(verdict: Verdict, path: Path) -> None:
    """Store `verdict` as JUnit XML at `path`. Errors: InputError, StorageError."""
    write_text(path, junit_text(verdict))
