"""A board reached over SSH, by one key and a host key trusted beforehand."""

from __future__ import annotations

import contextlib
import io
import secrets
import shlex
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edgekd.errors import HostError, HostTimeout
from edgekd.files import open_or_fail, sha256_of_bytes, sha256_of_file
from edgekd.hosts.base import Completed
from edgekd.hosts.grammar import SshAddress, checked_argv, checked_path, checked_workspace
from edgekd.hosts.link import connect, paramiko
from edgekd.hosts.remote_command import BROKEN, run_command
from edgekd.text import printable
from edgekd.units import text_from_s

_FILE_TIMEOUT_S = 120.0
_JOIN_S = 5.0
_CHUNK_BYTES = 32768  # the largest that every SFTP server answers in one packet
_NO_HASHER = 69
_HASH_SCRIPT = (
    "if command -v sha256sum >/dev/null 2>&1; then exec sha256sum; "
    "elif command -v shasum >/dev/null 2>&1; then exec shasum -a 256; "
    f"else exit {_NO_HASHER}; fi"
)


class SshHost:
    """The board at `address`; connected from the start, disconnected by close or at the end of a with block.

    Errors: ConnectError, SecurityError and InputError when made; then as Host says.
    """

    def __init__(
        self, address: SshAddress, *, key: Path, known_hosts: Path, python: str = "python3", workspace: str = ".edgekd"
    ) -> None:
        self.name = address.name
        self.python = python
        self._folder = checked_workspace(workspace)
        self._sftp: paramiko.SFTPClient | None = None
        self._transport = connect(address, key=key, known_hosts=known_hosts)
        try:
            self._shell(f"umask 077; mkdir -p -- {shlex.quote(self._folder)}", folder=".")
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
        """Disconnect; a second call does nothing."""
        self._drop_sftp()
        self._transport.close()

    def run(self, argv: Sequence[str], *, timeout_s: float, max_output_bytes: int = 1 << 20) -> Completed:
        """See Host.run."""
        words = checked_argv(argv)
        ended = run_command(
            self._transport,
            words,
            name=self.name,
            folder=self._folder,
            timeout_s=timeout_s,
            max_output_bytes=max_output_bytes,
        )
        return Completed(words, ended.exit_status, ended.stdout, ended.stderr)

    def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
        """See Host.put."""
        place, digest = checked_path(remote), sha256_of_file(local)
        deadline = time.monotonic() + timeout_s
        if self._size(place, timeout_s) == local.stat().st_size and self._sha256(place, deadline) == digest:
            return False
        with open_or_fail(local) as stream:
            self._store(stream, place, digest, timeout_s)
        return True

    def write(self, remote: str, data: bytes) -> None:
        """See Host.write."""
        self._store(io.BytesIO(data), checked_path(remote), sha256_of_bytes(data), _FILE_TIMEOUT_S)

    def read(self, remote: str, *, max_bytes: int) -> bytes:
        """See Host.read; the bound holds whatever size the board claims."""
        place = checked_path(remote)
        data = bytearray()
        with self._files(f"reading {place}", _FILE_TIMEOUT_S) as sftp:
            # Opening a pipe or a device could wait for ever, and leave a process behind that does.
            if not stat.S_ISREG(sftp.stat(self._at(place)).st_mode or 0):
                raise HostError(f"{self.name}: {place} is no regular file, so it is not read")
        with self._files(f"reading {place}", _FILE_TIMEOUT_S) as sftp, sftp.open(self._at(place), "rb") as stream:
            while len(data) <= max_bytes:
                part = stream.read(min(_CHUNK_BYTES, max_bytes + 1 - len(data)))
                if not part:
                    break
                data += part
        if len(data) > max_bytes:
            raise HostError(f"{self.name}: {place} is longer than the {max_bytes} bytes expected")
        return bytes(data)

    def remove(self, remote: str) -> None:
        """See Host.remove."""
        self._shell(f"rm -rf -- {shlex.quote(checked_path(remote))}")

    def _store(self, stream: BinaryIO, place: str, digest: str, timeout_s: float) -> None:
        """Send under another name, compare the hash made on the board, rename: nobody sees a part of a file."""
        part = f"{place}.{secrets.token_hex(6)}.part"
        deadline = time.monotonic() + timeout_s
        try:
            with self._files(f"sending {place}", timeout_s) as sftp:
                self._make_parents(sftp, place)
                with sftp.open(self._at(part), "wb") as target:
                    target.set_pipelined(pipelined=True)
                    while chunk := stream.read(_CHUNK_BYTES):
                        target.write(chunk)
            self._require_sha256(part, digest, deadline)
            with self._files(f"renaming {place}", _FILE_TIMEOUT_S) as sftp:
                sftp.posix_rename(self._at(part), self._at(place))
        except HostError:
            with contextlib.suppress(HostError):
                self.remove(part)
            raise

    def _make_parents(self, sftp: paramiko.SFTPClient, place: str) -> None:
        parts = place.split("/")
        for end in range(1, len(parts)):
            # SFTP does not tell "exists already" from other failures; what matters shows when the file is opened.
            with contextlib.suppress(OSError):
                sftp.mkdir(self._at("/".join(parts[:end])), 0o700)

    def _require_sha256(self, place: str, digest: str, deadline: float) -> None:
        found = self._sha256(place, deadline)
        if found != digest:
            raise HostError(
                f"{self.name}: {place} arrived with another content (SHA-256 {found[:12]}…, sent {digest[:12]}…). "
                "Is its disk full or damaged?"
            )

    def _size(self, place: str, timeout_s: float) -> int | None:
        with self._files(f"looking at {place}", timeout_s) as sftp:
            try:
                return sftp.stat(self._at(place)).st_size
            except FileNotFoundError:
                return None

    def _sha256(self, place: str, deadline: float) -> str:
        left_s = max(1.0, deadline - time.monotonic())
        ended = self.run(["sh", "-c", f"{_HASH_SCRIPT} < {shlex.quote(place)}"], timeout_s=left_s)
        if ended.exit_status == _NO_HASHER:
            raise HostError(f"{self.name}: has neither sha256sum nor shasum, so that no copy can be verified")
        if ended.exit_status != 0:
            raise HostError(f"{self.name}: {place} cannot be hashed ({printable(ended.stderr.strip(), 200)})")
        return printable(ended.stdout.split(" ")[0].strip(), 64)

    def _shell(self, script: str, *, folder: str | None = None) -> None:
        ended = run_command(
            self._transport,
            ["sh", "-c", script],
            name=self.name,
            folder=folder or self._folder,
            timeout_s=_FILE_TIMEOUT_S,
            max_output_bytes=4096,
        )
        if ended.exit_status != 0:
            said = printable(ended.stderr.strip(), 300)
            raise HostError(f"{self.name}: the workspace {self._folder} there cannot be changed ({said})")

    def _at(self, place: str) -> str:
        return f"{self._folder}/{place}"

    @contextlib.contextmanager
    def _files(self, what: str, timeout_s: float) -> Iterator[paramiko.SFTPClient]:
        """The file service of the board, cut off after `timeout_s`, whatever it does meanwhile."""
        expired = threading.Event()
        try:
            if self._sftp is None:
                self._sftp = paramiko.SFTPClient.from_transport(self._transport)
            sftp = self._sftp
            if sftp is None:
                raise HostError(f"{self.name}: offers no SFTP. Install it there: openssh-sftp-server")
            channel = sftp.get_channel()
        except BROKEN as error:
            raise HostError(
                f"{self.name}: offers no SFTP, or the link broke ({_said(error)}). Needed: openssh-sftp-server"
            ) from None

        def cut() -> None:
            expired.set()
            if channel is not None:
                channel.close()

        clock = threading.Timer(timeout_s, cut)
        clock.daemon = True
        clock.start()
        try:
            yield sftp
        except (*BROKEN, paramiko.SFTPError) as error:
            if expired.is_set():
                self._drop_sftp()
                raise HostTimeout(f"{self.name}: {what} did not end within {text_from_s(timeout_s)}") from None
            raise HostError(f"{self.name}: {what} failed ({_said(error)})") from None
        finally:
            clock.cancel()
            clock.join(timeout=_JOIN_S)

    def _drop_sftp(self) -> None:
        if self._sftp is not None:
            with contextlib.suppress(*BROKEN):
                self._sftp.close()
            self._sftp = None


def _said(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__, 200)
