"""A board reached over SSH, by one login and a host key trusted beforehand; with SFTP, or with its shell alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Self

from edgekd.errors import HostError
from edgekd.hosts.board_scripts import APPEND, BLOCK_BYTES
from edgekd.hosts.by_shell import FILE_TIMEOUT_S, ByShell, Ended
from edgekd.hosts.hops import Link, connected
from edgekd.hosts.remote_command import Feed, run_command
from edgekd.hosts.sftp import Sftp
from edgekd.hosts.target import Hop
from edgekd.hosts.watch import STALL_S
from edgekd.text import printable


class SshHost(ByShell):
    """The board at the end of `hops`; connected from the start, disconnected by close or at the end of a with block.

    A connection that broke is made anew by the next operation, with the same checks. A board without SFTP gets and
    gives files through its shell. Errors: ConnectError, SecurityError and InputError when made; then as Host says.
    """

    def __init__(
        self,
        hops: Sequence[Hop],
        *,
        python: str = "python3",
        workspace: str = ".edgekd",
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(hops[-1].address.name, python, workspace)
        self._hops = tuple(hops)
        self._stall_s = stall_s
        self._sftp: Sftp | None = None
        self._without_sftp = False
        self._link: Link | None = connected(self._hops)
        try:
            self._make_workspace(FILE_TIMEOUT_S)
        except HostError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; a second call does nothing, and an operation after it connects again."""
        if self._sftp is not None:
            self._sftp.close()
            self._sftp = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        """See upload.Carrier.send: by SFTP, or where there is none through the shell."""
        sftp = self._files()
        if sftp is not None:
            sftp.send(stream, part, start, timeout_s=timeout_s)
            return
        argv = ("sh", "-c", APPEND, "sh", part, str(start // BLOCK_BYTES))
        ended = self._ended(
            argv, folder=self._folder, timeout_s=timeout_s, max_output_bytes=4096, feed=Feed(stream)
        ).completed(argv)
        if ended.exit_status != 0:
            said = printable(" ".join(ended.stderr.split()), 200) or "nothing"
            raise HostError(f"{self.name}: {part} cannot be written there; it said: {said}")

    def _content(self, place: str, max_bytes: int) -> bytes:
        sftp = self._files()
        if sftp is not None:
            return sftp.read(place, max_bytes=max_bytes, timeout_s=FILE_TIMEOUT_S)
        return super()._content(place, max_bytes)

    def _ended(
        self, argv: tuple[str, ...], *, folder: str, timeout_s: float, max_output_bytes: int, feed: Feed | None = None
    ) -> Ended:
        return run_command(
            self._connected().transport,
            argv,
            name=self.name,
            folder=folder,
            timeout_s=timeout_s,
            max_output_bytes=max_output_bytes,
            feed=feed,
        )

    def _connected(self) -> Link:
        """The link, made anew when it broke. Errors: as __init__."""
        if self._link is None or not self._link.transport.is_active():
            self.close()
            self._link = connected(self._hops)
        return self._link

    def _files(self) -> Sftp | None:
        """The file service; None for a board that has none."""
        link = self._connected()
        if self._without_sftp:
            return None
        if self._sftp is None:
            self._sftp = Sftp(self.name, link.transport, self._folder, stall_s=self._stall_s)
        if self._sftp.offered():
            return self._sftp
        self._without_sftp = True
        self._sftp = None
        return None
