"""Start a run that outlives whoever starts it: a session of its own, no terminal, and nothing of ours kept open."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from pathlib import Path
from typing import Any, Dict, Optional

from .folder import STATE, folder_of
from .supervise import supervise

FIRST_WORD_S = 10.0
_MOST_OPEN, _MOST_BYTES = 4096, 1 << 16


def launch(run: str) -> Optional[Dict[str, Any]]:
    """Start `run`, unless it was started before, and give its first state; None when it has one, or none yet."""
    if Path(folder_of(run), STATE).exists():
        return None
    hear, say = os.pipe()
    first = os.fork()
    if not first:
        # Between the two forks nothing may fail back into the launcher's code.
        try:
            os.setsid()
            if not os.fork():
                detached(run, say)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        os._exit(0)
    os.close(say)
    os.waitpid(first, 0)
    with os.fdopen(hear, "rb") as stream:
        said = heard(stream.fileno())
    return dict(json.loads(said.decode())) if said else None


def detached(run: str, say: int) -> None:
    """The second child: nothing ties it to the launcher but `say`, and that only until the first word."""
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for end in (0, 1, 2):
        os.dup2(nothing, end)
    os.closerange(3, say)
    os.closerange(say + 1, _MOST_OPEN)
    ends = [say]

    def tell(table: Dict[str, Any]) -> None:
        if ends:
            os.write(ends[0], json.dumps(table).encode()[:_MOST_BYTES])
            os.close(ends.pop())

    supervise(run, tell)
    os._exit(0)


def heard(end: int) -> bytes:
    """What the supervisor says until it closes its end, or for a while."""
    said, late = b"", time.monotonic() + FIRST_WORD_S
    while len(said) <= _MOST_BYTES and select.select([end], [], [], max(0.0, late - time.monotonic()))[0]:
        part = os.read(end, 65536)
        if not part:
            break
        said += part
    return said
