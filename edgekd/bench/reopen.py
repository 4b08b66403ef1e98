"""A host that is opened again when the link to it breaks, so that an interruption costs time and nothing else."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edgekd.errors import CommandError, ConnectError, DiskFull, HostError, HostTimeout, LinkLost, RunError
from edgekd.hosts.base import Completed, Host
from edgekd.units import text_from_s

PATIENCE_S = 600.0  # our choice: long enough for a router that starts anew, or a cable that is found
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_JITTER = 0.3  # so that many who lost the same link do not come back in step
_PROBE_S = 10.0
_OF_THE_LINK = (LinkLost, HostTimeout, ConnectError)
T = TypeVar("T")


class Reopening:
    """The host that `reopen` opens; opened from the start, as the contract of Host says.

    put, write, read and remove can be done twice without harm, and are done again over a new link when the old one
    broke. A command is not: whoever runs one knows whether it may run twice, and says so with `lasting`.
    Once `stop` is set, the next thing that is to be done raises KeyboardInterrupt in its place, once, for Ctrl-C itself
    reaches no thread but the first.
    Errors: as `reopen` at the start, where a link that broke after the login is opened again as well; then RunError
    UNREACHABLE when the board did not answer for `patience_s`, counted from the first failure.
    """

    def __init__(
        self,
        reopen: Callable[[], Host],
        *,
        patience_s: float = PATIENCE_S,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        stop: threading.Event | None = None,
    ) -> None:
        self._reopen, self._patience_s, self._now, self._sleep = reopen, patience_s, now, sleep
        self._stop = stop
        self.reopened = 0
        self._host = self._first()
        self.name, self.python = self._host.name, self._host.python

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.__exit__(kind, error, trace)

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run; once, over the link that there is."""
        return self._host.run(argv, timeout_s=timeout_s, max_output_bytes=max_output_bytes)

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put."""
        return self.lasting(lambda host: host.put(local, remote, timeout_s=timeout_s))

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        self.lasting(lambda host: host.write(remote, data))

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read."""
        return self.lasting(lambda host: host.read(remote, max_bytes=max_bytes))

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        self.lasting(lambda host: host.remove(remote))

    def lasting(self, work: Callable[[Host], T]) -> T:
        """What `work` gives, done again over a new link as long as the link is what failed."""
        late, pauses = None, _pauses()
        while True:
            self._end_when_stopped()
            try:
                return work(self._host)
            except (CommandError, DiskFull, RunError):
                raise
            except HostError as error:
                # On a new link, an error of another kind may be the board's own answer.
                if late is not None and not isinstance(error, _OF_THE_LINK) and self._answers():
                    raise
                late = self._now() + self._patience_s if late is None else late
                with contextlib.suppress(HostError):
                    self._host.__exit__(None, None, None)
                self._host = self._opened(late, pauses, error)
                self.reopened += 1

    def _first(self) -> Host:
        """The host for the first time: who proved who it is may be on its way back, who never did is told at once."""
        try:
            return self._reopen()
        except (LinkLost, HostTimeout) as error:
            return self._opened(self._now() + self._patience_s, _pauses(), error)

    def _end_when_stopped(self) -> None:
        if self._stop is not None and self._stop.is_set():
            self._stop = None
            raise KeyboardInterrupt

    def _answers(self) -> bool:
        with contextlib.suppress(HostError):
            return self._host.run(["true"], timeout_s=_PROBE_S).exit_status == 0
        return False

    def _opened(self, late: float, pauses: Iterator[float], error: HostError) -> Host:
        """A new link, or RunError after `late`; a board that does not prove who it is ends the trying at once."""
        while self._now() < late:
            self._end_when_stopped()
            self._sleep(min(next(pauses), max(0.0, late - self._now())))
            try:
                return self._reopen()
            except HostError as again:
                error = again
        raise RunError(
            f"{error}; no link to the board lasted for {text_from_s(self._patience_s)}. "
            "Check the board and the network, then run again",
            state="UNREACHABLE",
        )


def _pauses() -> Iterator[float]:
    """Seconds before each attempt, growing, so that a link that opens and breaks at once is not tried in a hurry."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  a pause, not a secret
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def lasting(host: Host, work: Callable[[Host], T]) -> T:
    """What `work` gives on `host`, done again where the host can be opened again. `work` must bear being done twice."""
    return host.lasting(work) if isinstance(host, Reopening) else work(host)
