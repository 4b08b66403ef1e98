"""What a board does by its shell, however the shell is reached: commands, files whole or not at all, the workspace."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgekd.errors import HostError
from edgekd.files import sha256_of_bytes
from edgekd.hosts.base import Completed
from edgekd.hosts.board_scripts import IS_MISSING, IS_NO_FILE, MAKE_FOLDER, READ, READ_BLOCK_BYTES, REMOVE
from edgekd.hosts.grammar import checked_argv, checked_path, checked_workspace
from edgekd.hosts.upload import Content, bring, bring_file
from edgekd.text import printable

FILE_TIMEOUT_S = 120.0
SCRIPT_OUTPUT_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: its status (None when a signal ended it) and the last part of both of its outputs."""

    exit_status: int | None
    out: bytes
    err: bytes

    def completed(self, argv: tuple[str, ...]) -> Completed:
        """As Host.run gives it."""
        texts = (data.decode("utf-8", errors="backslashreplace") for data in (self.out, self.err))
        return Completed(argv, self.exit_status, *texts)


class ByShell(ABC):
    """A Host, and a Carrier of uploads, whose commands go the way of `_ended` and whose files that of `send`."""

    def __init__(self, name: str, python: str, workspace: str) -> None:
        self.name, self.python = name, python
        self._folder = checked_workspace(workspace)

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run."""
        words = checked_argv(argv)
        ended = self._ended(words, folder=self._folder, timeout_s=timeout_s, max_output_bytes=max_output_bytes)
        return ended.completed(words)

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put."""
        return bring_file(self, local, checked_path(remote), timeout_s=timeout_s)

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        content = Content(io.BytesIO(data), len(data), sha256_of_bytes(data))
        bring(self, content, checked_path(remote), timeout_s=FILE_TIMEOUT_S)

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read; the bound holds whatever size the board claims."""
        place = checked_path(remote)
        data = self._content(place, max_bytes)
        if len(data) > max_bytes:
            raise HostError(f"{self.name}: {place} is longer than the {max_bytes} bytes expected")
        return data

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        place = checked_path(remote)
        ended = self.shell(REMOVE, place, timeout_s=FILE_TIMEOUT_S)
        if ended.exit_status != 0:
            said = printable(ended.stderr.strip(), 300)
            raise HostError(f"{self.name}: {place} in the workspace {self._folder} cannot be removed ({said})")

    def shell(self, script: str, *words: str, timeout_s: float) -> Completed:
        """Run our own `script` in the workspace with `words`. Errors: HostTimeout, LinkLost, HostError."""
        argv = ("sh", "-c", script, "sh", *words)
        ended = self._ended(argv, folder=self._folder, timeout_s=timeout_s, max_output_bytes=SCRIPT_OUTPUT_BYTES)
        return ended.completed(argv)

    @abstractmethod
    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        """See upload.Carrier.send."""

    @abstractmethod
    def _ended(self, argv: tuple[str, ...], *, folder: str, timeout_s: float, max_output_bytes: int) -> Ended:
        """`argv` run in `folder` of the board. Errors: HostTimeout with the command stopped; LinkLost; HostError."""

    def _content(self, place: str, max_bytes: int) -> bytes:
        """What stands in `place`, or its first bytes, more than `max_bytes`. Errors: HostError."""
        blocks = max_bytes // READ_BLOCK_BYTES + 1
        argv, most = ("sh", "-c", READ, "sh", place, str(blocks)), blocks * READ_BLOCK_BYTES
        ended = self._ended(argv, folder=self._folder, timeout_s=FILE_TIMEOUT_S, max_output_bytes=most)
        if ended.exit_status == IS_NO_FILE:
            raise HostError(f"{self.name}: {place} is no regular file, so it is not read")
        if ended.exit_status != 0:
            missing = "there is no such file" if ended.exit_status == IS_MISSING else "it cannot be read there"
            raise HostError(f"{self.name}: {place}: {missing}")
        return ended.out

    def _make_workspace(self, timeout_s: float) -> None:
        argv = ("sh", "-c", MAKE_FOLDER, "sh", self._folder)
        ended = self._ended(argv, folder=".", timeout_s=timeout_s, max_output_bytes=SCRIPT_OUTPUT_BYTES)
        if ended.exit_status != 0:
            said = printable(ended.completed(argv).stderr.strip(), 300)
            raise HostError(
                f"{self.name}: the workspace {self._folder} there cannot be made ({said})."
                " Name a place that may be written to in hosts.yaml: workspace"
            )
