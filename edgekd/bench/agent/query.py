"""What can be said of a run now, whoever runs it, and how a run is ended from outside.

The answer is a table: `run`, `boot_id` of the board now, `state` (what state.json says, None without one), `damaged`
(why it cannot be read), `alive` (the supervisor runs), `left` (how many processes of the run live besides),
`lock_free`, and `now_ns`. It tells facts; the other side concludes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from . import processes
from .board_lock import LOCK, fcntl, holder, is_free
from .folder import CANCEL, OWN_LOCK, STATE, folder_of, read_table

FORMAT = 1
LONGEST_WAIT_S = 60.0


def stated(folder: str) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """What state.json says, and why it cannot be read."""
    try:
        return read_table("%s/%s" % (folder, STATE)), None
    except (OSError, ValueError, RecursionError) as error:
        return None, (str(error).splitlines() or [type(error).__name__])[0][:200]


def number_in(table: Optional[Dict[str, Any]], name: str) -> Optional[int]:
    value = (table or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def supervised(table: Optional[Dict[str, Any]]) -> bool:
    """Whether the supervisor that wrote `table` still runs: the same boot, the same process, and no zombie."""
    pid = number_in(table, "pid")
    if table is None or pid is None or table.get("boot_id") != processes.boot_id():
        return False
    return processes.is_alive(pid, number_in(table, "starttime"))


def left_behind(run: str, table: Optional[Dict[str, Any]]) -> List[int]:
    """Living processes of a run whose supervisor is gone; none that only has the number of one.

    Whoever has the lock is of the run as long as the run's name stands in it: the next one that takes it signs anew.
    """
    if table is None or table.get("boot_id") != processes.boot_id():
        return []
    return processes.of_run(run, LOCK if (holder() or {}).get("run") == run else None)


def answer(run: str) -> Dict[str, Any]:
    folder = folder_of(run)
    table, damaged = stated(folder)
    alive = supervised(table)
    left = []  # type: List[int]
    if not alive:
        # Read again: what a supervisor that is gone wrote last is what counts.
        table, damaged = stated(folder)
        left = left_behind(run, table)
    return {
        "format": FORMAT,
        "run": run,
        "boot_id": processes.boot_id(),
        "now_ns": time.monotonic_ns(),
        "state": table,
        "damaged": damaged,
        "alive": alive,
        "left": len(left),
        "lock_free": None if alive else is_free(),
    }


class _TimeIsUp(Exception):
    """The wait was long enough."""


def wait(run: str, wait_s: float) -> None:
    """Until the supervisor of `run` is gone, which frees its lock, or for `wait_s`; asleep meanwhile."""
    path = Path(folder_of(run), OWN_LOCK)
    if fcntl is None or wait_s <= 0 or not path.exists():
        return

    def ring(_number: int, _frame: Any) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with path.open("rb") as stream:
            signal.setitimer(signal.ITIMER_REAL, min(wait_s, LONGEST_WAIT_S))
            fcntl.flock(stream, fcntl.LOCK_SH)
    except _TimeIsUp:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def cancel(run: str) -> None:
    """Ask the supervisor of `run` to end it."""
    folder = folder_of(run)
    with contextlib.suppress(FileNotFoundError):
        Path(folder, CANCEL).touch()
    table, _ = stated(folder)
    if table is not None and supervised(table):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(table["pid"]), signal.SIGTERM)


def reap(run: str) -> None:
    """End all that lives of `run`: a supervisor that does not answer first, so that it cannot take up again."""
    folder = folder_of(run)
    table, _ = stated(folder)
    if table is not None and supervised(table):
        pid, session = int(table["pid"]), number_in(table, "session")
        started = number_in(table, "starttime")
        # While the supervisor lives, the number of its session is its own.
        own = [one for one in processes.members(session) if one != pid] if session else []
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        processes.end(lambda: [one for one in [pid, *own] if processes.is_alive(one, started if one == pid else None)])
    processes.end(lambda: left_behind(run, table))
