"""Processes of the board as /proc shows them: who is alive, who belongs to a run, who holds a lock.

A number alone names no process, for numbers are used again: its start time does, as long as the board has not been
started anew. A process that ended and was not waited for (a zombie) is dead here.

Source: proc_pid_stat(5), proc_pid_fdinfo(5); field 22 of stat is the start time in clock ticks after boot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

from .facts import read_text

MARK = "EDGEKD_RUN"
PATIENCE_S, STEP_S = 5.0, 0.02
PROC = "/proc"


def boot_id() -> Optional[str]:
    """What changes when the board is started anew; None where the system does not say."""
    return read_text(PROC + "/sys/kernel/random/boot_id", 64)


def stat_of(pid: int) -> Optional[List[str]]:
    """The fields of PID's stat from the third on, which is the state; None when there is no such process.

    Read of its first thread, which tells the same: qemu-user shows a process another /proc/PID/stat of its own than
    everybody else sees, with another start time (QEMU, linux-user/syscall.c, open_self_stat).
    """
    text = read_text("%s/%d/task/%d/stat" % (PROC, pid, pid), 4096)
    fields = text.rpartition(")")[2].split() if text else []
    return fields if len(fields) > 19 else None


def start_time(pid: int) -> Optional[int]:
    fields = stat_of(pid)
    return None if fields is None else int(fields[19])


def is_alive(pid: int, started: Optional[int]) -> bool:
    """Whether the process `pid` that started at `started` still runs."""
    if not Path(PROC + "/self/stat").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
        return False
    fields = stat_of(pid)
    return fields is not None and fields[0] not in "ZX" and (started is None or int(fields[19]) == started)


def living() -> Dict[int, List[str]]:
    """The fields of every process that is alive, by its number."""
    found = {}
    for entry in Path(PROC).glob("[0-9]*"):
        fields = stat_of(int(entry.name))
        if fields is not None and fields[0] not in "ZX":
            found[int(entry.name)] = fields
    return found


def members(session: int) -> List[int]:
    """Living processes of `session` but this one."""
    return [pid for pid, fields in living().items() if int(fields[3]) == session and pid != os.getpid()]


def holds_lock(pid: int, path: str) -> bool:
    """Whether `pid` has the lock on the file `path`, its own or one that a parent left to it."""
    inode = ":%d " % Path(path).stat().st_ino
    for entry in Path("%s/%d/fdinfo" % (PROC, pid)).glob("*"):
        for line in (read_text(str(entry)) or "").splitlines():
            if line.startswith("lock:") and "FLOCK" in line and inode in line:
                return True
    return False


def belongs(pid: int, run: str, lock: Optional[str]) -> bool:
    """Whether `pid` is surely of `run`: it has `lock`, the one that the run has, or was told its name at its start."""
    with contextlib.suppress(OSError):
        if lock is not None and holds_lock(pid, lock):
            return True
    told = read_text("%s/%d/environ" % (PROC, pid), 1 << 20) or ""
    return "%s=%s" % (MARK, run) in told.split("\0")


def of_run(run: str, lock: Optional[str]) -> List[int]:
    """Living processes but this one that surely belong to `run`, whatever session they went to."""
    return [pid for pid in living() if pid != os.getpid() and belongs(pid, run, lock)]


def end(find: Callable[[], List[int]], patience_s: float = PATIENCE_S) -> List[int]:
    """End all that `find` finds: politely, and after `patience_s` surely. Who could not be ended.

    A process that is ending has closed its files, and with them the lock by which it is found, while it still lives. So
    whoever was found once is ended, also when it is not found again.
    """
    began = {}  # type: Dict[int, Optional[int]]
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 2.0)):
        late = time.monotonic() + wait_s
        told = set()  # type: set[int]
        while True:
            found = find()
            for pid in found:
                began.setdefault(pid, start_time(pid))
            left = set(found).union(pid for pid, at in began.items() if at is not None and is_alive(pid, at))
            if not left:
                return []
            for pid in left - told:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            told.update(left)
            if time.monotonic() >= late:
                break
            time.sleep(STEP_S)
    return sorted(left)
