"""Governor and clocks set for a measurement, and put back afterwards, even after a cut.

What was before is written to the file JOURNAL in the workspace before anything is set. Whoever works in that workspace
next, under its lock, puts back what a journal says: the supervisor after a measuring process that was ended, and where
that one was killed, too, whoever comes next. After a restart of the board there is nothing to put back: these settings
do not outlive one.

Only what this user may write is set; nothing asks for more rights.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from .facts import read_text

JOURNAL, CLOCKS = "tune.journal", "tune.clocks"
PERFORMANCE = "performance"
CLOCKS_TIMEOUT_S = 60
# A journal can name these files and no others, whoever wrote it.
_GOVERNOR = re.compile(r"sys/devices/system/cpu/(cpufreq/policy[0-9]{1,4}|cpu[0-9]{1,4}/cpufreq)/scaling_governor")
_WORD = re.compile(r"[a-z_]{1,20}")


def governor_files(root: str) -> List[str]:
    """The files of all governors, relative to `root`."""
    cpus = Path(root + "sys/devices/system/cpu")
    found = [str(path)[len(root) :] for path in sorted(cpus.glob("cpufreq/policy*/scaling_governor"))]
    found = found or [str(path)[len(root) :] for path in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))]
    return [name for name in found if _GOVERNOR.fullmatch(name)]


def tunable(root: str) -> List[str]:
    """The governors that are not 'performance', can be, and that this user may set."""
    found = []
    for name in governor_files(root):
        path = Path(root + name)
        known = (read_text(str(path.with_name("scaling_available_governors"))) or PERFORMANCE).split()
        now = read_text(str(path)) or ""
        if PERFORMANCE in known and now != PERFORMANCE and _WORD.fullmatch(now) and os.access(str(path), os.W_OK):
            found.append(name)
    return found


def written(path: str, word: str) -> bool:
    """Whether the file takes `word`, and then says it."""
    with contextlib.suppress(OSError):
        Path(path).write_text(word, encoding="ascii")
    return read_text(path) == word


def store_journal(table: Dict[str, Any]) -> None:
    """On the disk before anything is set."""
    part = Path(JOURNAL + ".part")
    with part.open("w", encoding="ascii") as stream:
        json.dump(table, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(JOURNAL)


def jetson_clocks(*words: str) -> bool:
    """Whether jetson_clocks is there, may be used and did as it was told. It is root's alone."""
    tool = shutil.which("jetson_clocks")
    if tool is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [tool, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=CLOCKS_TIMEOUT_S,
        )
        return done.returncode == 0
    return False


def apply(root: str) -> List[str]:
    """Set what may be set; what was set, in words."""
    names = tunable(root)
    clocks = jetson_clocks("--store", CLOCKS) and Path(CLOCKS).is_file()
    if not names and not clocks:
        return []
    before = {name: read_text(root + name) for name in names}
    store_journal({"boot_id": boot_id(root), "governors": before, "clocks": clocks})
    done = [
        "%s: %s instead of %s" % (name, PERFORMANCE, before[name])
        for name in names
        if written(root + name, PERFORMANCE)
    ]
    return [*done, "jetson_clocks"] if clocks and jetson_clocks() else done


def boot_id(root: str) -> Optional[str]:
    return read_text(root + "proc/sys/kernel/random/boot_id")


def restore(root: str) -> List[str]:
    """Put back what the journal says, if there is one; what could not be put back, which stays in the journal."""
    text = read_text(JOURNAL)
    if text is None:
        return []
    table = {}  # type: Dict[str, Any]
    with contextlib.suppress(ValueError):  # the journal is replaced as a whole, so another text is none of ours
        found = json.loads(text)
        table = found if isinstance(found, dict) else {}
    left = {}
    if table.get("boot_id") == boot_id(root):
        before = table.get("governors")
        for name, word in (before if isinstance(before, dict) else {}).items():
            known = _GOVERNOR.fullmatch(name) and isinstance(word, str) and _WORD.fullmatch(word)
            if known and not written(root + name, word):
                left[name] = word
    clocks = table.get("clocks") is True and Path(CLOCKS).is_file() and table.get("boot_id") == boot_id(root)
    clocks = clocks and not jetson_clocks("--restore", CLOCKS)
    if left or clocks:
        store_journal(dict(table, governors=left, clocks=clocks))
        return [*left, *(["jetson_clocks"] if clocks else [])]
    for name in (CLOCKS, JOURNAL):
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
    return []


@contextlib.contextmanager
def tuned(root: str, *, wanted: bool) -> Iterator[Optional[List[str]]]:
    """Set while the block runs what was set, or None when that was not wanted; in both cases end what others left."""
    restore(root)
    if not wanted:
        yield None
        return
    try:
        yield apply(root)
    finally:
        restore(root)
