"""The lock of the board's workspace: one measurement at a time, and its name for whoever finds it taken.

The kernel frees the lock when the last process that has it is gone, however it went. So a lock that is free is free,
whatever the file says, and one that is taken is taken, however old.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Dict, Optional

from .folder import MAX_STATE_BYTES
from .processes import boot_id, start_time

try:
    import fcntl
except ImportError:  # as on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "Lock", "fcntl", "holder", "is_free"]

LOCK = "lock"


def user() -> str:
    """Who runs this: by name, or by number where the system has none for it, as in some containers."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return str(os.getuid())


class Lock:
    """A lock on the file `path`, taken by this process and by what it forks from then on."""

    def __init__(self, path: str = LOCK) -> None:
        self.path = path
        self._stream = Path(path).open("a+b")  # noqa: SIM115  open as long as the lock is ours

    def take(self, *, shared: bool = False) -> bool:
        """Whether the lock is ours now; where the system has no such locks it always is."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(self._stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self, run: str) -> None:
        """Say in the file who has it. A disk that is full leaves it unsaid."""
        pid = os.getpid()
        holder = {"user": user(), "host": platform.node(), "run": run, "pid": pid, "starttime": start_time(pid)}
        with contextlib.suppress(OSError):
            self._put(json.dumps(dict(holder, boot_id=boot_id(), since_ns=time.monotonic_ns())).encode())

    def free(self) -> None:
        """Give it back at once, also for what still has it by heritage, and say so in the file."""
        with contextlib.suppress(OSError):
            self._put(b"")
        if fcntl is not None:
            fcntl.flock(self._stream, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Let go of it here; it stays taken by those who have it by heritage."""
        self._stream.close()

    def _put(self, data: bytes) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(data)
        self._stream.flush()


def holder(path: str = LOCK) -> Optional[Dict[str, Any]]:
    """Who says to have the lock, with `age_s` since it was taken; None when nobody says so."""
    with contextlib.suppress(OSError, ValueError):
        with Path(path).open("rb") as stream:
            said = json.loads(stream.read(MAX_STATE_BYTES).decode())
        if isinstance(said, dict):
            same_boot = said.get("boot_id") == boot_id() and isinstance(said.get("since_ns"), int)
            return dict(said, age_s=round((time.monotonic_ns() - said["since_ns"]) / 1e9, 1) if same_boot else None)
    return None


def is_free(path: str = LOCK) -> bool:
    """Whether nobody has the lock now."""
    if not Path(path).exists():
        return True
    lock = Lock(path)
    try:
        return lock.take(shared=True)
    finally:
        lock.close()
