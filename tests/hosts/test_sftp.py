"""A board whose file service lies, floods or hangs."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from stub_server import Asking, stub_server

from edgekd.errors import HostError, HostTimeout, LinkLost, Stalled
from edgekd.hosts import sftp as sftp_module
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.hops import connected
from edgekd.hosts.sftp import Sftp
from edgekd.hosts.target import Hop, Login


class Endless(paramiko.SFTPHandle):
    """A file that says it has 10 bytes and never ends."""

    def read(self, offset: int, length: int) -> bytes:
        return b"x" * length

    def stat(self) -> Any:
        return _regular(10)


def _regular(size: int) -> paramiko.SFTPAttributes:
    facts = paramiko.SFTPAttributes()
    facts.st_size, facts.st_mode = size, 0o100644
    return facts


class Hostile(paramiko.SFTPServerInterface):
    """Every name is an endless file; writing is refused."""

    def stat(self, path: str) -> Any:
        return _regular(10)

    def open(self, path: str, flags: int, attr: Any) -> Any:
        return paramiko.SFTP_PERMISSION_DENIED if flags & 1 else Endless(flags)


class Board(Asking):
    """Takes any key and opens sessions."""

    def __init__(self) -> None:
        super().__init__("publickey", key_is_enough=True)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


@contextlib.contextmanager
def serving(board: Any, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[paramiko.Transport]:
    """A link to a server whose files are Hostile's."""
    start = paramiko.Transport.start_server

    def with_files(self: paramiko.Transport, **said: Any) -> None:
        self.set_subsystem_handler("sftp", paramiko.SFTPServer, Hostile)
        start(self, **said)

    patch.setattr(paramiko.Transport, "start_server", with_files)
    with stub_server(Board()) as (port, key):
        known = folder / "known"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        link = connected([Hop(SshAddress("127.0.0.1", port, "u"), Login(board.key), known)])
        try:
            yield link.transport
        finally:
            link.close()


@pytest.fixture
def hostile(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[paramiko.Transport]:
    with serving(board, tmp_path, monkeypatch) as transport:
        yield transport


def test_endless_file_that_says_it_is_short_is_read_up_to_the_bound(hostile: paramiko.Transport) -> None:
    sftp = Sftp("b", hostile, "work")
    assert len(sftp.read("runs/result", max_bytes=100_000, timeout_s=30)) == 100_001
    sftp.close()


def test_refusal_is_an_error_of_the_board_and_no_lost_link(hostile: paramiko.Transport) -> None:
    sftp = Sftp("b", hostile, "work")
    with pytest.raises(HostError, match="sending blobs/m failed") as caught:
        sftp.send(io.BytesIO(b"x"), "blobs/m", 0, timeout_s=30)
    assert not isinstance(caught.value, LinkLost | HostTimeout)
    sftp.close()


@pytest.fixture
def transport(board: Any, tmp_path: Path) -> Iterator[paramiko.Transport]:
    known = board.known_hosts(tmp_path / "known")
    link = connected([Hop(SshAddress("127.0.0.1", board.port, board.user), Login(board.key), known)])
    yield link.transport
    link.close()


def test_bursts_of_any_size_arrive_in_order(transport: paramiko.Transport, tmp_path: Path) -> None:
    sftp = Sftp("b", transport, str(tmp_path))
    data = random.Random(3).randbytes(3_000_001)
    sftp.send(io.BytesIO(data), "whole", 0, timeout_s=60)
    assert (tmp_path / "whole").read_bytes() == data
    sftp.send(io.BytesIO(data[1000:2000]), "whole", 1000, timeout_s=60)
    assert (tmp_path / "whole").read_bytes() == data[:2000]
    sftp.close()


class Slow(io.BytesIO):
    """Gives one part, and the next only when the watch has cut the channel."""

    def __init__(self, client: Any) -> None:
        super().__init__(bytes(100_000))
        self._client = client

    def read(self, size: int | None = -1) -> bytes:
        channel = self._client().get_channel()
        while self.tell() > 0 and not channel.closed:
            channel.status_event.wait(0.02)
        return super().read(size)


def test_nothing_that_moves_is_told_as_a_stall_and_the_next_use_opens_anew(
    transport: paramiko.Transport, tmp_path: Path
) -> None:
    sftp = Sftp("b", transport, str(tmp_path), stall_s=0.3)
    with pytest.raises(Stalled, match="has not moved for 300 ms"):
        sftp.send(Slow(lambda: sftp._client), "file", 0, timeout_s=60)
    sftp.send(io.BytesIO(b"again"), "file", 0, timeout_s=60)
    assert sftp.read("file", max_bytes=10, timeout_s=10) == b"again"
    sftp.close()


def test_server_without_sftp_is_told_apart_from_a_broken_link(bare_board: Any, tmp_path: Path) -> None:
    known = bare_board.known_hosts(tmp_path / "known")
    link = connected([Hop(SshAddress("127.0.0.1", bare_board.port, bare_board.user), Login(bare_board.key), known)])
    assert Sftp("b", link.transport, ".").offered() is False
    link.close()


class Tardy(paramiko.SFTPServer):
    """Answers the first write behind the second one, as a server may."""

    held: list[tuple[int, int]]

    def _send_status(self, request_number: int, code: int, desc: str | None = None) -> None:
        self.held = [*getattr(self, "held", []), (request_number, code)]
        first = self.held[0][0] if code == paramiko.SFTP_OK else None
        if first == request_number:
            return
        super()._send_status(request_number, code, desc)  # type: ignore[misc]
        if len(self.held) == 2:
            super()._send_status(*self.held[0])  # type: ignore[misc]


class Counting(paramiko.SFTPHandle):
    """Takes any number of writes, and fails the one at `refused`."""

    refused: int | None = None
    taken = 0

    def write(self, offset: int, data: bytes) -> int:
        if offset == self.refused:
            return paramiko.SFTP_FAILURE
        Counting.taken += len(data)
        return paramiko.SFTP_OK


class Taking(paramiko.SFTPServerInterface):
    """Every name is a file that counts what it gets."""

    def open(self, path: str, flags: int, attr: Any) -> Any:
        return Counting(flags)


@pytest.fixture
def tardy(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[paramiko.Transport]:
    monkeypatch.setattr(f"{__name__}.Hostile", Taking)
    monkeypatch.setattr(paramiko, "SFTPServer", Tardy)
    monkeypatch.setattr(Counting, "taken", 0)
    with serving(board, tmp_path, monkeypatch) as transport:
        yield transport


def test_answers_in_another_order_are_no_reason_to_wait(tardy: paramiko.Transport) -> None:
    sftp = Sftp("b", tardy, "work", stall_s=5)
    sftp.send(io.BytesIO(bytes(300_000)), "file", 0, timeout_s=30)
    assert Counting.taken == 300_000
    sftp.close()


def test_a_write_that_fails_is_told_whenever_its_answer_comes(
    tardy: paramiko.Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    sftp = Sftp("b", tardy, "work", stall_s=5)
    for refused in (0, sftp_module._WRITE_BYTES, 9 * sftp_module._WRITE_BYTES):
        monkeypatch.setattr(Counting, "refused", refused)
        with pytest.raises(HostError, match="sending file failed") as caught:
            sftp.send(io.BytesIO(bytes(300_000)), "file", 0, timeout_s=30)
        assert not isinstance(caught.value, LinkLost | HostTimeout)
    sftp.close()
