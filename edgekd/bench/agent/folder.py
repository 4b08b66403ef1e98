"""The folder of one run on the board, and how files there are written: whole or not at all, and also on a full disk.

runs/RUN/spec.json      orders, from the other side
         run.lock       held by the supervisor as long as it lives
         reserve        space that is given up when nothing else is left
         state.json     what became of the run so far
         result.json    what was measured, manifest.json beside it: hashes of it, and when it was measured
         error.json     a failure that was to be expected, from the measuring process to the supervisor
         agent.log      the last that was said
         cancel         exists when the run is no longer wanted
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, Optional

RUNS = "runs"
RUN_NAME = re.compile(r"[0-9a-z]{26}")
SPEC, STATE, RESULT, MANIFEST = "spec.json", "state.json", "result.json", "manifest.json"
ERROR, LOG, OWN_LOCK, RESERVE, CANCEL = "error.json", "agent.log", "run.lock", "reserve", "cancel"
STATE_FORMAT = 1
MAX_STATE_BYTES = 65536
RESERVE_BYTES = 1 << 20
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def folder_of(run: str) -> str:
    """The folder of `run`. Errors: ValueError for a name that is none of ours."""
    if not RUN_NAME.fullmatch(run):
        raise ValueError("%r names no run, expected 26 digits and small letters" % run[:40])
    return "%s/%s" % (RUNS, run)


def replace_file(path: str, data: bytes) -> None:
    """Put `data` in the place of `path`, or leave it as it was: what is there was written whole. Errors: OSError."""
    part = path + ".part"
    try:
        with Path(part).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(part).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(part).unlink()
        raise


def write_table(path: str, table: Dict[str, Any]) -> None:
    replace_file(path, json.dumps(table, sort_keys=True).encode())


def read_table(path: str, limit: int = MAX_STATE_BYTES) -> Optional[Dict[str, Any]]:
    """The table in `path`, or None when there is no such file. Errors: ValueError when it holds something else."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        return None
    if len(data) > limit:
        raise ValueError("%s is longer than %d bytes" % (path, limit))
    table = json.loads(data.decode())
    if not isinstance(table, dict):
        raise ValueError("%s is no table" % path)
    return table


def reserve(folder: str) -> None:
    """Take the space that a last state needs. Errors: OSError when there is none.

    Where the system cannot allocate, zeros are written: some file systems, and bionic before Android 5.
    """
    with Path(folder, RESERVE).open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, RESERVE_BYTES)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) in NO_SPACE:
                raise
            stream.write(bytes(RESERVE_BYTES))
            stream.flush()


def give_up_reserve(folder: str) -> None:
    with contextlib.suppress(OSError):
        Path(folder, RESERVE).unlink()


class State:
    """state.json of one run, and what it says now. Each writing counts as a beat: who reads it twice sees life."""

    def __init__(self, folder: str, **known: Any) -> None:
        self.path = "%s/%s" % (folder, STATE)
        self.table = dict(known, format=STATE_FORMAT, beat=0)  # type: Dict[str, Any]

    def write(self, **changed: Any) -> None:
        """Errors: OSError, with the former state still in the file."""
        table = dict(self.table, beat=self.table["beat"] + 1, **changed)
        write_table(self.path, table)
        self.table = table
