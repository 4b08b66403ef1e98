"""An SSH server that lies: about sizes, names, ends of files and of commands, and about what it wants to know.

It serves a folder and runs commands like any board, but for the malice it was made with. Real OpenSSH cannot be made to
do most of this, and a board that was taken over can do all of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paramiko

from tests.lab.sshd import Board, make_keys

ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e"
_EVIL_NAMES = ("../../outside", "/etc/outside", ESCAPES, "a\nb", "-rf")

_PATIENCE_S = 0.2

Command = Callable[[paramiko.Channel, str], None]


@dataclass(frozen=True)
class Malice:
    """What the server does otherwise than a good one; nothing by default.

    `logins` are the ways to log in that it offers, and with `more` a key is not enough. `size` is what it says of every
    file, `endless` files have no end, `packet_bytes` come for whatever was asked, `error` goes with every failure.
    `command` takes the place of running what was asked; `sftp` says whether there is a file service.
    """

    logins: tuple[str, ...] = ("publickey",)
    more: bool = False
    ciphers: Sequence[str] | None = None
    digests: Sequence[str] | None = None
    version: str | None = None
    banner: str | None = None
    size: int | None = None
    endless: bool = False
    packet_bytes: int | None = None
    error: str | None = None
    command: Command | None = None
    sftp: bool = True


NONE = Malice()


class HostileBoard:
    """The server on a free port of loopback, serving `folder`; a context manager that ends its threads.

    `asked` collects the answers it tried to get out of the client, `served` counts the bytes of files it sent, and
    `logged_in` the logins.
    """

    def __init__(self, folder: Path, malice: Malice = NONE, *, keys: Path) -> None:
        self.folder, self.malice = folder, malice
        self.asked: list[str] = []
        self.served = 0
        self.logged_in = 0
        self._keys = keys
        self._transports: list[paramiko.Transport] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keys.mkdir(parents=True, exist_ok=True)
        make_keys(self._keys)
        self._server_key = paramiko.PKey.from_path(self._keys / "host_key")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.board = Board(self._keys, self._server.getsockname()[1], "user")
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for transport in self._transports:
            transport.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, work: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._server.accept()
            except OSError:
                return
            transport = paramiko.Transport(wire)
            self._transports.append(transport)
            transport.add_server_key(self._server_key)
            self._spoil(transport)
            if self.malice.sftp:
                transport.set_subsystem_handler("sftp", _RudeSftp, _Files, self)
            try:
                transport.start_server(server=_Session(self))
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()

    def _spoil(self, transport: paramiko.Transport) -> None:
        options = transport.get_security_options()
        if self.malice.ciphers is not None:
            options.ciphers = tuple(self.malice.ciphers)
        if self.malice.digests is not None:
            options.digests = tuple(self.malice.digests)
        if self.malice.version is not None:
            transport.local_version = self.malice.version

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """Answer `command` on `channel`, in a thread of its own."""
        self._start(self._answer, channel, command)

    def _answer(self, channel: paramiko.Channel, command: str) -> None:
        try:
            # An answer must not overtake the word that there will be one; a client that sent its input has read that.
            given = _input(channel)
            if self.malice.command is not None:
                self.malice.command(channel, command)
            else:
                self._answer_honestly(channel, command, given)
        except (OSError, EOFError, paramiko.SSHException):
            return  # the client went away, as it should

    def _answer_honestly(self, channel: paramiko.Channel, command: str, given: bytes) -> None:
        ended = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, input=given, capture_output=True, check=False, timeout=60
        )
        channel.sendall(ended.stdout)
        channel.sendall_stderr(ended.stderr)
        channel.send_exit_status(ended.returncode)
        channel.close()


def _input(channel: paramiko.Channel) -> bytes:
    """What the client sends up to the end of it, or until it is silent for a moment."""
    given = bytearray()
    channel.settimeout(_PATIENCE_S)
    with contextlib.suppress(TimeoutError):
        while data := channel.recv(65_536):
            given += data
    channel.settimeout(None)
    return bytes(given)


class _Session(paramiko.ServerInterface):
    def __init__(self, server: HostileBoard) -> None:
        self._server = server
        self._public = paramiko.PKey.from_path(server.board.key).asbytes()

    def get_allowed_auths(self, username: str) -> str:
        return ",".join(self._server.malice.logins)

    def get_banner(self) -> tuple[str | None, str | None]:
        return self._server.malice.banner, "en"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if "publickey" not in self._server.malice.logins or key.asbytes() != self._public:
            return paramiko.AUTH_FAILED
        if self._server.malice.more:
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        self._server.logged_in += 1
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        self._server.asked.append(f"password {password}")
        return paramiko.AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> paramiko.InteractiveQuery:
        self._server.asked.append("keyboard-interactive")
        return paramiko.InteractiveQuery("", f"Your password {ESCAPES}", ("Password: ", False))

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.run(channel, command.decode())
        return True


class _RudeSftp(paramiko.SFTPServer):
    """The file service, whose failures come with words of its own."""

    def __init__(self, channel: Any, name: str, server: Any, interface: Any, board: HostileBoard) -> None:
        super().__init__(channel, name, server, interface, board)
        self._board = board

    def _send_status(self, request_number: int, code: int, desc: str | None = None) -> None:
        said = self._board.malice.error if code not in (paramiko.SFTP_OK, paramiko.SFTP_EOF) else None
        super()._send_status(request_number, code, desc if said is None else said)  # type: ignore[misc]


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, session: paramiko.ServerInterface, board: HostileBoard) -> None:
        super().__init__(session)
        self._board = board

    def _place(self, path: str) -> Path:
        return self._board.folder / path.lstrip("/")

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes]:
        found = []
        for name in _EVIL_NAMES:
            attributes = paramiko.SFTPAttributes()
            attributes.filename = name
            found.append(attributes)
        return found

    def stat(self, path: str) -> Any:
        try:
            attributes = paramiko.SFTPAttributes.from_stat(self._place(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        if self._board.malice.size is not None:
            attributes.st_size = self._board.malice.size
        return attributes

    lstat = stat

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
        try:
            descriptor = os.open(self._place(path), flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return _File(descriptor, flags, self._board)

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return _status(self._place(path).mkdir)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return _status(lambda: self._place(oldpath).rename(self._place(newpath)))


class _File(paramiko.SFTPHandle):
    def __init__(self, descriptor: int, flags: int, board: HostileBoard) -> None:
        super().__init__(flags)
        self._stream = os.fdopen(descriptor, "wb" if flags & os.O_WRONLY else "rb")
        self._board = board

    def read(self, offset: int, length: int) -> bytes:
        malice = self._board.malice
        wanted = malice.packet_bytes or length
        if malice.endless:
            data = b"x" * wanted
        else:
            self._stream.seek(offset)
            data = self._stream.read(wanted)
        self._board.served += len(data)
        return data

    def write(self, offset: int, data: bytes) -> int:
        self._stream.seek(offset)
        self._stream.write(data)
        return paramiko.SFTP_OK

    def close(self) -> None:
        self._stream.close()


def _status(work: Callable[[], object]) -> int:
    try:
        work()
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno or 0)
    return paramiko.SFTP_OK
