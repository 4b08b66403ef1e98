"""The seam to the hardware: what every host can do, however it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: its exit status (None when only a signal is known) and the last part of its output."""

    argv: tuple[str, ...]
    exit_status: int | None
    stdout: str
    stderr: str


class Host(Protocol):
    """One board on the wire, open for use; a context manager that closes it.

    Paths on the host are POSIX strings relative to its workspace, an own folder of edgekd's; a path that is absolute
    or climbs out of it is refused with InputError before anything is sent. Every operation has a deadline.
    `python` is the interpreter there, as the first word of an argv.
    Errors: ConnectError, LinkLost, HostTimeout, HostError for the link; SecurityError for an identity that does not
    match. After a LinkLost the next operation connects again, with the same checks.
    """

    name: str
    python: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """Run `argv` in the workspace, without a shell's interpretation; keep the last `max_output_bytes` per stream.

        A program that does not exist there ends with status 127, as in a shell; its input is empty.
        Errors: HostTimeout after `timeout_s`, with the command stopped; HostError when the link breaks.
        """
        ...

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """Copy the local file to `remote`, whole or not at all, verified by SHA-256; False when already there.

        A broken copy goes on where it stopped, where the way to the host allows it. Errors: DiskFull, too.
        """
        ...

    def write(self, remote: str, data: bytes) -> None:
        """Replace `remote` by `data`, whole or not at all."""
        ...

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """The bytes of `remote`. Errors: HostError when it is missing or longer than `max_bytes`."""
        ...

    def remove(self, remote: str) -> None:
        """Delete the file or folder `remote`; nothing happens when it does not exist."""
        ...
