"""The measuring process and what its supervisor sees of it: that it lives, what it says, how it ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback
from pathlib import Path
from typing import Any, Dict, Optional

from . import processes
from .failures import AgentError
from .folder import ERROR, NO_SPACE, write_table
from .seal import seal
from .work import EXIT_ERROR, result_for

EXIT_BUG, EXIT_DISK = 1, 4
MAX_LOG_BYTES = 64 * 1024
LIKELY_VICTIM = b"800"


class Said:
    """The last of what was said, however much it was."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.changed = False

    def add(self, data: bytes) -> None:
        self._data += data
        self.changed = True
        if len(self._data) > 2 * MAX_LOG_BYTES:
            del self._data[:-MAX_LOG_BYTES]

    def kept(self) -> bytes:
        """What is to be stored; nothing has changed since then."""
        self.changed = False
        return bytes(self._data[-MAX_LOG_BYTES:])


class Child:
    """A process that measures what `spec` orders and leaves result and manifest, or error.json, in `folder`.

    It shares the session of this process and inherits its priority, its cores and the locks but `own`. `status` is as
    of waitpid once it has ended.
    """

    def __init__(self, folder: str, run: str, spec: Dict[str, Any], own: Any) -> None:
        self.status: Optional[int] = None
        self.said = Said()
        self._wake, wake_end = os.pipe()
        self._log, log_end = os.pipe()
        self._life, life_end = os.pipe()
        for end in (self._wake, wake_end, self._log):
            os.set_blocking(end, False)
        # The end of the child interrupts the waiting through this pipe; the handler itself has nothing to do.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        self._wake_end = wake_end
        self.pid = os.fork()
        if not self.pid:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            for end in (self._wake, wake_end, self._log, self._life):
                os.close(end)
            own.close()
            os.dup2(log_end, 1)
            os.dup2(log_end, 2)
            os.environ[processes.MARK] = run
            os._exit(measure(folder, run, spec))
        os.close(log_end)
        os.close(life_end)

    def wait(self, timeout_s: float) -> bool:
        """Whether it still lives after it or the time ended; takes what it says meanwhile."""
        late = time.monotonic() + timeout_s
        while not self.reap():
            left_s = late - time.monotonic()
            if left_s <= 0:
                return True
            ends = [self._wake, self._log] if self._log is not None else [self._wake]
            ready = select.select(ends, [], [], left_s)[0]
            if self._log in ready:
                self._drain()
            if self._wake in ready:
                os.read(self._wake, 4096)
                if not self.reap():
                    return True
        return False

    def reap(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def left_alone(self) -> bool:
        """Whether nothing that was forked from it is alive any more."""
        return bool(select.select([self._life], [], [], 0)[0])

    def close(self) -> None:
        """Take the last that was said, and wait for nobody."""
        self._drain()
        signal.set_wakeup_fd(-1)
        for end in (self._wake, self._wake_end, self._life, self._log):
            if end is not None:
                os.close(end)

    def _drain(self) -> None:
        while self._log is not None:
            try:
                data = os.read(self._log, 65536)
            except BlockingIOError:
                return
            if not data:
                os.close(self._log)
                self._log = None  # type: ignore[assignment]
                return
            self.said.add(data)


def measure(folder: str, run: str, spec: Dict[str, Any]) -> int:
    """What the child does, up to its exit status. Nothing may leave it but that: it is a fork."""
    try:
        # When memory runs out, the kernel is to choose this process and not the one that has to tell of it.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(LIKELY_VICTIM)
        begun_ns = time.monotonic_ns()
        try:
            result = result_for(spec)
        except AgentError as error:
            write_table("%s/%s" % (folder, ERROR), error.table())
            return EXIT_ERROR
        boot = processes.boot_id()
        seal(folder, result, run=run, boot=boot, begun_ns=begun_ns, ended_ns=time.monotonic_ns())
    except OSError as error:
        traceback.print_exc()
        return EXIT_DISK if error.errno in NO_SPACE else EXIT_BUG
    except BaseException:  # noqa: BLE001  a forked process must never return into its parent's code
        traceback.print_exc()
        return EXIT_BUG
    return 0
