"""A program on this machine: drained without deadlock, ended by the clock with everything that it started."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_STEP_S = 0.2
_PATIENCE_S = 2.0
_CHUNK_BYTES = 65536

# Programs that threads wait for when this one ends, such as at Ctrl-C; the main thread stops its own.
_running: set[subprocess.Popen[bytes]] = set()


class Sink(Protocol):
    """What takes the parts of a stream."""

    def add(self, data: bytes) -> None:
        """Take the next part."""
        ...


def run_process(argv: Sequence[str], *, out: Sink, err: Sink, timeout_s: float, folder: Path | None = None) -> int:
    """Run `argv` without a shell and with an empty input; give its status, negative for a signal.

    It leads a session of its own, which is ended with it when anything goes wrong here.
    Errors: OSError when it cannot start; TimeoutError after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    _running.add(process)
    with process:
        try:
            _pump(process, out, err, deadline)
            return process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            if process.poll() is None:
                _stop_session(process)
            _running.discard(process)


@atexit.register
def _stop_all() -> None:
    """What still runs when this program ends is ended with it."""
    for process in list(_running):
        if process.poll() is None:
            _stop_session(process)


def _pump(process: subprocess.Popen[bytes], out: Sink, err: Sink, deadline: float) -> None:
    """Drain both streams until they end, or fall silent after the process ended. Errors: TimeoutError."""
    with selectors.DefaultSelector() as selector:
        for stream, sink in ((process.stdout, out), (process.stderr, err)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, sink)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            ended = process.poll() is not None
            ready = selector.select(min(left_s, _STEP_S))
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK_BYTES)
                if data:
                    key.data.add(data)
                else:
                    selector.unregister(key.fileobj)
            # A grandchild in the background may hold the streams open for ever.
            if ended and not ready:
                return


def _stop_session(process: subprocess.Popen[bytes]) -> None:
    """End every process of the child's session: first politely, then surely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _session_members(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        patience = time.monotonic() + _PATIENCE_S
        while time.monotonic() < patience:
            if process.poll() is not None and not _session_members(process.pid):
                return
            time.sleep(0.02)


def _session_members(session: int) -> list[int]:
    """Living processes of `session`; where there is no /proc, its leader alone."""
    if not Path("/proc/self/stat").exists():
        return [session] if _is_alive(session) else []
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, _group, found = entry.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(found) == session and state != "Z":
            members.append(int(entry.parent.name))
    return members


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
