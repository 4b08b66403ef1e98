"""A board reached over SSH, by one login and a host key trusted beforehand; with SFTP, or with its shell alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edgekd.errors import HostError
from edgekd.files import sha256_of_bytes
from edgekd.hosts.base import Completed
from edgekd.hosts.board_scripts import APPEND, BLOCK_BYTES, IS_NO_FILE, MAKE_FOLDER, READ, READ_BLOCK_BYTES, REMOVE
from edgekd.hosts.grammar import checked_argv, checked_path, checked_workspace
from edgekd.hosts.hops import Link, connected
from edgekd.hosts.remote_command import Ended, Feed, run_command
from edgekd.hosts.sftp import Sftp
from edgekd.hosts.target import Hop
from edgekd.hosts.upload import Content, bring, bring_file
from edgekd.hosts.watch import STALL_S
from edgekd.text import printable

_FILE_TIMEOUT_S = 120.0
_SCRIPT_OUTPUT_BYTES = 16384


class SshHost:
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
        self.name = hops[-1].address.name
        self.python = python
        self._hops = tuple(hops)
        self._folder = checked_workspace(workspace)
        self._stall_s = stall_s
        self._sftp: Sftp | None = None
        self._without_sftp = False
        self._link: Link | None = connected(self._hops)
        try:
            self._make_workspace()
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

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run."""
        words = checked_argv(argv)
        return self._ended(words, timeout_s=timeout_s, max_output_bytes=max_output_bytes).completed(words)

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put."""
        return bring_file(self, local, checked_path(remote), timeout_s=timeout_s)

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        content = Content(io.BytesIO(data), len(data), sha256_of_bytes(data))
        bring(self, content, checked_path(remote), timeout_s=_FILE_TIMEOUT_S)

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read; the bound holds whatever size the board claims."""
        place = checked_path(remote)
        sftp = self._files()
        if sftp is not None:
            data = sftp.read(place, max_bytes=max_bytes, timeout_s=_FILE_TIMEOUT_S)
        else:
            data = self._read_by_shell(place, max_bytes)
        if len(data) > max_bytes:
            raise HostError(f"{self.name}: {place} is longer than the {max_bytes} bytes expected")
        return data

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        place = checked_path(remote)
        ended = self.shell(REMOVE, place, timeout_s=_FILE_TIMEOUT_S)
        if ended.exit_status != 0:
            said = printable(ended.stderr.strip(), 300)
            raise HostError(f"{self.name}: {place} in the workspace {self._folder} cannot be removed ({said})")

    def shell(self, script: str, *words: str, timeout_s: float) -> Completed:
        """Run our own `script` in the workspace with `words`. Errors: HostTimeout, LinkLost, HostError."""
        argv = ("sh", "-c", script, "sh", *words)
        return self._ended(argv, timeout_s=timeout_s, max_output_bytes=_SCRIPT_OUTPUT_BYTES).completed(argv)

    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        """See upload.Carrier.send: by SFTP, or where there is none through the shell."""
        sftp = self._files()
        if sftp is not None:
            sftp.send(stream, part, start, timeout_s=timeout_s)
            return
        argv = ("sh", "-c", APPEND, "sh", part, str(start // BLOCK_BYTES))
        ended = self._ended(argv, timeout_s=timeout_s, max_output_bytes=4096, feed=Feed(stream)).completed(argv)
        if ended.exit_status != 0:
            said = printable(" ".join(ended.stderr.split()), 200) or "nothing"
            raise HostError(f"{self.name}: {part} cannot be written there; it said: {said}")

    def _read_by_shell(self, place: str, max_bytes: int) -> bytes:
        blocks = max_bytes // READ_BLOCK_BYTES + 1
        argv = ("sh", "-c", READ, "sh", place, str(blocks))
        ended = self._ended(argv, timeout_s=_FILE_TIMEOUT_S, max_output_bytes=blocks * READ_BLOCK_BYTES)
        if ended.exit_status == IS_NO_FILE:
            raise HostError(f"{self.name}: {place} is no regular file, so it is not read")
        if ended.exit_status != 0:
            raise HostError(f"{self.name}: {place} cannot be read there, or does not exist")
        return ended.out

    def _ended(
        self, argv: tuple[str, ...], *, timeout_s: float, max_output_bytes: int, feed: Feed | None = None
    ) -> Ended:
        return run_command(
            self._connected().transport,
            argv,
            name=self.name,
            folder=self._folder,
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

    def _make_workspace(self) -> None:
        argv = ("sh", "-c", MAKE_FOLDER, "sh", self._folder)
        ended = run_command(
            self._connected().transport, argv, name=self.name, folder=".", timeout_s=_FILE_TIMEOUT_S,
            max_output_bytes=4096,
        ).completed(argv)  # fmt: skip
        if ended.exit_status != 0:
            said = printable(ended.stderr.strip(), 300)
            raise HostError(
                f"{self.name}: the workspace {self._folder} there cannot be made ({said})."
                " Name a place that may be written to in hosts.yaml: workspace"
            )
