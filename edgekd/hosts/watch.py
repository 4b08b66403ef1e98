"""An eye on a transfer: cut it when it takes too long, or when nothing moves any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

STALL_S = 30.0
_JOIN_S = 5.0


class Watch:
    """While a with block lasts, call `cut` after `timeout_s` in all, or when `moved` was not called for `stall_s`.

    `ran_out` and `stalled` tell afterwards which of these happened.
    """

    def __init__(self, cut: Callable[[], None], *, timeout_s: float, stall_s: float = STALL_S) -> None:
        self.ran_out = False
        self.stalled = False
        self._cut = cut
        self._stall_s = stall_s
        self._end = time.monotonic() + timeout_s
        self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="edgekd-watch", daemon=True)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=_JOIN_S)

    def moved(self) -> None:
        """The other side has taken or given something."""
        self._last = time.monotonic()

    def _look(self) -> None:
        while True:
            now = time.monotonic()
            self.ran_out = now >= self._end
            self.stalled = not self.ran_out and now >= self._last + self._stall_s
            if self.ran_out or self.stalled:
                self._cut()
                return
            if self._done.wait(min(self._end, self._last + self._stall_s) - now):
                return
