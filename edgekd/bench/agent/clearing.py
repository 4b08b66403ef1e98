"""Folders of runs whose command never came back: removed by the next launch, once nobody can want them any more.

A run is kept for a week after it was last written to. Its command measures again when it comes later than that.

The age is that of its files, compared with a file that is written now, so it is told by one clock. That clock may
jump, on a board without a battery at each start. So a run of this boot is taken to be no older than the boot, and what
tells of no boot is taken to be of this one; a run of another boot that is removed too early costs its measurement.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import List

from . import processes
from .board_lock import Lock
from .folder import OWN_LOCK, RUN_NAME, RUNS, SPEC, folder_of
from .query import left_behind, stated, supervised

KEPT_S = 7 * 24 * 3600.0


def clear_old(fresh: str) -> List[str]:
    """Remove the folders of old runs, and tell their names; `fresh` is the run whose orders just came, and stays.

    What cannot be removed stays, too: no measurement waits for that.
    """
    removed = []
    with contextlib.suppress(OSError):
        orders = "%s/%s" % (folder_of(fresh), SPEC)
        os.utime(orders)
        now_s = Path(orders).stat().st_mtime
        for folder in sorted(Path(RUNS).iterdir()):
            if RUN_NAME.fullmatch(folder.name) and folder.name != fresh:
                with contextlib.suppress(OSError):
                    if age_s(folder, now_s) > KEPT_S and removed_dead(folder):
                        removed.append(folder.name)
    return removed


def age_s(folder: Path, now_s: float) -> float:
    """How long ago anything was written in `folder`, as far as that is sure. Errors: OSError."""
    newest_s = max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
    table, _ = stated(str(folder))
    boot = None if table is None else table.get("boot_id")
    uptime_s = time.monotonic() if boot in (None, processes.boot_id()) else now_s
    return min(now_s - newest_s, uptime_s)


def removed_dead(folder: Path) -> bool:
    """Whether `folder` was removed, for nothing of its run lives. Errors: OSError."""
    own = Lock(str(folder / OWN_LOCK))
    try:
        table, _ = stated(str(folder))
        if not own.take() or supervised(table) or left_behind(folder.name, table):
            return False
        shutil.rmtree(str(folder))
        return True
    finally:
        own.close()
