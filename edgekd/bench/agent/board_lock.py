"""The lock of the board: one measurement at a time, and its name for whoever finds it taken.

It is two files. One lies in the workspace, so it is there on every board. The other lies where every account of the
board may open it, so that two accounts see each other: in /tmp, or in the folder that EDGEKD_LOCKS names. Where there
is no such place (Termux), or something else lies there, the first one alone counts.

The kernel frees a lock when the last process that has it is gone, however it went. So a lock that is free is free,
whatever the file says, and one that is taken is taken, however old.

Source: open(2) for O_NOFOLLOW; proc_sys_fs(5) for protected_regular, by which O_CREAT is refused to whoever opens a
file of somebody else's in a sticky folder, root included: so what exists is opened without it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO, Dict, Optional

from .folder import MAX_STATE_BYTES
from .processes import boot_id, start_time

try:
    import fcntl
except ImportError:  # as on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "BoardLock", "Lock", "fcntl", "holder", "is_free"]

LOCK = "lock"
COMMON_FOLDER, COMMON_LOCK = "/tmp", "edgekd.lock"  # noqa: S108  opened as a place where anybody may write
EVERYBODY = 0o666
WORDS, NUMBERS, MOST_WORD = ("user", "host", "run", "boot_id"), ("pid", "starttime", "since_ns"), 200


def user() -> str:
    """Who runs this: by name, or by number where the system has none for it, as in some containers."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return str(os.getuid())


class Lock:
    """A lock on the file `path`, or on `stream`, taken by this process and by what it forks from then on."""

    def __init__(self, path: str = LOCK, stream: Optional[BinaryIO] = None) -> None:
        # Open as long as the lock is ours.
        self._stream = Path(path).open("a+b") if stream is None else stream  # noqa: SIM115

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

    def holder(self) -> Optional[Dict[str, Any]]:
        """As the function holder."""
        with contextlib.suppress(OSError):
            self._stream.seek(0)
            return _holder(self._stream.read(MAX_STATE_BYTES))
        return None

    def free(self) -> None:
        """Give it back at once, also for what still has it by heritage, and say so in the file."""
        with contextlib.suppress(OSError):
            self._put(b"")
        self.leave()
        self.close()

    def leave(self) -> None:
        """Give it back, with the file as it is, and be ready to take it again."""
        if fcntl is not None:
            fcntl.flock(self._stream, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of it here; it stays taken by those who have it by heritage."""
        self._stream.close()

    def _put(self, data: bytes) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(data)
        self._stream.flush()


class BoardLock:
    """The lock of the board: that of this workspace, and with it that of all accounts where there is one."""

    def __init__(self) -> None:
        common = common_file()
        self._locks = [Lock()] if common is None else [Lock(), Lock(stream=common)]
        self._refused = self._locks[0]

    def take(self) -> bool:
        """Whether all of it is ours now; when not, nothing of it is."""
        for number, lock in enumerate(self._locks):
            if not lock.take():
                self._refused = lock
                for had in self._locks[:number]:
                    had.leave()
                return False
        return True

    def sign(self, run: str) -> None:
        """As Lock.sign."""
        for lock in self._locks:
            lock.sign(run)

    def holder(self) -> Optional[Dict[str, Any]]:
        """Who says to have what was refused last."""
        return self._refused.holder()

    def free(self) -> None:
        """As Lock.free."""
        for lock in reversed(self._locks):
            lock.free()

    def close(self) -> None:
        """As Lock.close."""
        for lock in self._locks:
            lock.close()


def common_path() -> str:
    return "%s/%s" % (os.environ.get("EDGEKD_LOCKS") or COMMON_FOLDER, COMMON_LOCK)


def common_file() -> Optional[BinaryIO]:
    """The file that all accounts lock, made when missing; None where it cannot be opened, or is not as we make it.

    Anybody may write in that folder. So no link is followed, nothing is waited for, and a file that has a second name
    is not touched: what is written into it would stand under that name, too.
    """
    if fcntl is None:
        return None
    for made in (0, os.O_CREAT | os.O_EXCL, 0):  # the last one for a file that was made by another one meanwhile
        before = os.umask(0)
        try:
            end = os.open(common_path(), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | made, EVERYBODY)
        except OSError:
            continue
        finally:
            os.umask(before)
        found = os.fstat(end)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            return os.fdopen(end, "r+b")
        os.close(end)
        return None
    return None


def holder(path: str = LOCK) -> Optional[Dict[str, Any]]:
    """Who says to have the lock, with `age_s` since it was taken; None when nobody says so."""
    with contextlib.suppress(OSError), Path(path).open("rb") as stream:
        return _holder(stream.read(MAX_STATE_BYTES))
    return None


def _holder(data: bytes) -> Optional[Dict[str, Any]]:
    """What is of the form that `sign` writes, and no more: anybody may have written it, and it is told on."""
    said = None
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(data.decode())
    if not isinstance(said, dict):
        return None
    known = {name: said[name][:MOST_WORD] for name in WORDS if isinstance(said.get(name), str)}  # type: Dict[str, Any]
    known.update({name: said[name] for name in NUMBERS if type(said.get(name)) is int and 0 <= said[name] < 1 << 63})
    since_ns = known.get("since_ns") if known.get("boot_id") == boot_id() else None
    age_s = None if since_ns is None else round((time.monotonic_ns() - since_ns) / 1e9, 1)
    return dict(known, age_s=age_s)


def is_free() -> bool:
    """Whether nobody has the lock of the board now. Nothing is made in the workspace for that: its disk may be full."""
    common = common_file()
    locks = [Lock()] if Path(LOCK).exists() else []
    locks += [] if common is None else [Lock(stream=common)]
    try:
        return all(lock.take(shared=True) for lock in locks)
    finally:
        for lock in locks:
            lock.close()
