"""What a board that was taken over cannot make edgekd do: write outside, fill memory, wait, print escapes, answer."""

from __future__ import annotations

import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest

from edgekd.errors import ConnectError, EdgekdError, HostError, HostTimeout, InputError, SecurityError
from edgekd.hosts import link
from edgekd.hosts.base import Host
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.open import open_host
from tests.lab.hostile import ESCAPES, HostileBoard, Malice
from tests.lab.sshd import Board

MEGABYTE = 2**20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and working folder of the client's own, which is to stay empty."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(place)
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def serve(tmp_path: Path, home: Path) -> Iterator[Callable[[Malice], HostileBoard]]:
    """A hostile board for a malice; all are ended afterwards."""
    started: list[HostileBoard] = []

    def start(malice: Malice) -> HostileBoard:
        board = HostileBoard(tmp_path / "board", malice, keys=tmp_path / "keys")
        started.append(board.__enter__())
        return board

    yield start
    for board in started:
        board.__exit__(None, None, None)


@contextmanager
def opened(server: HostileBoard, tmp_path: Path) -> Iterator[Host]:
    known = server.board.known_hosts(tmp_path / "known")
    with open_host(server.board.url, key=server.board.key, known_hosts=known, workspace="work") as host:
        yield host


def inert(error: EdgekdError) -> bool:
    """Whether a terminal would show the message and do nothing else."""
    return str(error).isprintable()


Serve = Callable[[Malice], HostileBoard]


def test_server_without_malice_is_a_board_like_others(serve: Serve, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"content" * 10_000)
    with opened(serve(Malice()), tmp_path) as host:
        assert host.put(local, "blobs/a") is True
        assert host.put(local, "blobs/a") is False
        assert host.read("blobs/a", max_bytes=70_000) == local.read_bytes()
        assert host.run(["sh", "-c", "echo out; exit 3"], timeout_s=20).exit_status == 3
        host.remove("blobs")
    assert list((tmp_path / "board/work").iterdir()) == []


def test_lists_its_files_by_names_that_lead_elsewhere(serve: Serve) -> None:
    """The malice is there: a client that used such names would be led astray. edgekd never asks for a list."""
    server = serve(Malice())
    transport = paramiko.Transport(("127.0.0.1", server.board.port))
    transport.connect(username="user", pkey=paramiko.PKey.from_path(server.board.key))
    sftp = paramiko.SFTPClient.from_transport(transport)
    assert sftp is not None
    assert {"../../outside", "/etc/outside", ESCAPES} <= set(sftp.listdir("."))
    sftp.close()
    transport.close()


@pytest.mark.parametrize(
    "malice",
    [
        Malice(endless=True),
        Malice(endless=True, size=1),
        Malice(endless=True, size=2**62),
        Malice(endless=True, packet_bytes=3 * MEGABYTE),
    ],
    ids=["endless", "endless-says-1-byte", "endless-says-exabytes", "answers-larger-than-asked"],
)
def test_endless_file_is_read_up_to_its_bound(malice: Malice, serve: Serve, tmp_path: Path) -> None:
    server = serve(malice)
    (server.folder / "work").mkdir()
    (server.folder / "work/result").write_bytes(b"x")
    with opened(server, tmp_path) as host, pytest.raises(HostError, match="longer than the 100000 bytes"):
        host.read("result", max_bytes=100_000)
    assert server.served <= 100_000 + (malice.packet_bytes or 65_536)


@pytest.mark.parametrize("size", [0, 3, 2**62])
def test_size_that_is_a_lie_changes_nothing_that_is_read(size: int, serve: Serve, tmp_path: Path) -> None:
    with opened(serve(Malice(size=size)), tmp_path) as host:
        host.write("result", b"twelve bytes")
        assert host.read("result", max_bytes=12) == b"twelve bytes"
        with pytest.raises(HostError, match="longer than the 11 bytes"):
            host.read("result", max_bytes=11)


def test_path_of_a_link_is_replaced_and_not_followed(board: Board, tmp_path: Path) -> None:
    """By real OpenSSH: who may write into the workspace there cannot make us write over another file of the account."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/result").symlink_to(outside)
    local = tmp_path / "local"
    local.write_bytes(b"model")
    known = board.known_hosts(tmp_path / "known")
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        host.write("result", b"ours")
        assert outside.read_bytes() == b"precious"
        (tmp_path / "work/model").symlink_to(outside)
        host.put(local, "model")
        host.remove("result")
        (tmp_path / "work/result").symlink_to(outside)
        host.remove("result")
    assert outside.read_bytes() == b"precious"
    assert (tmp_path / "work/model").read_bytes() == b"model"


def framed(channel: paramiko.Channel, command: str) -> bytes:
    """The mark by which edgekd knows the start of its own command's output; a hostile board reads it, too."""
    return re.findall(r"edgekd-[0-9a-f]{24}", command)[0].encode()


def mad(answer: Callable[[paramiko.Channel, bytes], None]) -> Malice:
    """Honest until the workspace is made, then `answer`, given the mark."""
    first = threading.Event()

    def command(channel: paramiko.Channel, words: str) -> None:
        mark = framed(channel, words) if "edgekd-" in words else b""
        if not first.is_set():
            first.set()
            for send in (channel.sendall, channel.sendall_stderr):
                send(mark + b" 1\n")
            channel.send_exit_status(0)
            channel.close()
        else:
            answer(channel, mark)

    return Malice(command=command)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping what runs there has a patience of its own, which such a board uses up."""
    monkeypatch.setattr("edgekd.hosts.remote_command._STOP_TIMEOUT_S", 0.5)


def flood_of_errors(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" 1\n")
    channel.sendall_stderr(mark + b" 1\n")
    while True:
        channel.sendall_stderr(b"e" * 65_536)


def flood_of_noise(channel: paramiko.Channel, mark: bytes) -> None:
    while True:
        channel.sendall(b"n" * 65_536)


def flood_of_digits(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" ")
    while True:
        channel.sendall(b"9" * 65_536)


def flood_of_marks(channel: paramiko.Channel, mark: bytes) -> None:
    while True:
        channel.sendall((mark + b" x\n") * 1000)


@pytest.mark.parametrize("answer", [flood_of_errors, flood_of_noise, flood_of_digits, flood_of_marks])
def test_flood_neither_fills_memory_nor_outlasts_the_deadline(
    answer: Any, serve: Serve, tmp_path: Path, impatient: None
) -> None:
    with opened(serve(mad(answer)), tmp_path) as host:
        tracemalloc.start()
        start = time.monotonic()
        try:
            with pytest.raises(HostTimeout):
                host.run(["true"], timeout_s=0.8, max_output_bytes=1000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert time.monotonic() - start < 15
        assert peak < 24 * MEGABYTE


def huge_number(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" " + b"9" * 6000 + b"\n")
    channel.send_exit_status(0)
    channel.close()


def bad_number_then_a_good_one(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" x\n" + mark + b" 12\nsaid")
    channel.sendall_stderr(mark + b" 12\n")
    channel.send_exit_status(0)
    channel.close()


def test_number_of_a_process_that_is_none_is_not_believed(serve: Serve, tmp_path: Path) -> None:
    with opened(serve(mad(huge_number)), tmp_path) as host, pytest.raises(HostError, match="did not start a command"):
        host.run(["true"], timeout_s=20)


def test_mark_without_a_number_is_noise_before_the_real_one(serve: Serve, tmp_path: Path) -> None:
    with opened(serve(mad(bad_number_then_a_good_one)), tmp_path) as host:
        assert host.run(["true"], timeout_s=20).stdout == "said"


def silence(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" 1\n")


def no_status(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(mark + b" 1\n")
    channel.close()


def test_command_without_an_end_or_a_status_is_told_as_what_it_is(
    serve: Serve, tmp_path: Path, impatient: None
) -> None:
    with opened(serve(mad(silence)), tmp_path) as host, pytest.raises(HostTimeout, match="did not end within"):
        host.run(["true"], timeout_s=0.5)
    with opened(serve(mad(no_status)), tmp_path) as host:
        assert host.run(["true"], timeout_s=20).exit_status is None


def refusing(channel: paramiko.Channel, mark: bytes) -> None:
    for send in (channel.sendall, channel.sendall_stderr):
        send(mark + b" 1\n" + ESCAPES.encode() + b"\n")
    channel.send_exit_status(1)
    channel.close()


def angry(channel: paramiko.Channel, mark: bytes) -> None:
    channel.sendall(ESCAPES.encode())
    channel.sendall_stderr(ESCAPES.encode())
    channel.send_exit_status(1)
    channel.close()


@pytest.mark.parametrize(
    ("malice", "ask"),
    [
        (Malice(error=ESCAPES), lambda host: host.read("absent", max_bytes=10)),
        (mad(refusing), lambda host: host.write("result", b"x")),
        (mad(angry), lambda host: host.run(["true"], timeout_s=20)),
        (mad(angry), lambda host: host.remove("result")),
    ],
    ids=["sftp-status", "write", "login-shell", "remove"],
)
def test_words_of_the_board_reach_no_terminal_as_escapes(
    malice: Malice, ask: Callable[[Host], object], serve: Serve, tmp_path: Path
) -> None:
    server = serve(malice)
    (server.folder / "work").mkdir()
    with opened(server, tmp_path) as host, pytest.raises(HostError) as caught:
        ask(host)
    assert inert(caught.value)


def refused(server: HostileBoard, tmp_path: Path) -> EdgekdError:
    known = server.board.known_hosts(tmp_path / "known")
    with pytest.raises(EdgekdError) as caught:
        open_host(server.board.url, key=server.board.key, known_hosts=known, workspace="work")
    assert server.logged_in == 0
    assert server.asked == []
    return caught.value


def test_server_that_asks_questions_gets_no_answer(serve: Serve, tmp_path: Path) -> None:
    error = refused(serve(Malice(logins=("keyboard-interactive", "password"), banner=ESCAPES)), tmp_path)
    assert isinstance(error, ConnectError)
    assert inert(error)


def test_server_for_which_a_key_is_not_enough_gets_no_more(serve: Serve, tmp_path: Path) -> None:
    error = refused(serve(Malice(more=True, logins=("publickey", "keyboard-interactive"))), tmp_path)
    assert isinstance(error, ConnectError)
    assert "asks for more than" in str(error)


@pytest.mark.parametrize(
    "malice",
    [Malice(ciphers=("aes128-cbc",), version=f"SSH-2.0-{ESCAPES}"), Malice(digests=("hmac-sha1", "hmac-md5"))],
    ids=["cbc", "sha1"],
)
def test_server_with_weak_algorithms_alone_is_not_talked_to(malice: Malice, serve: Serve, tmp_path: Path) -> None:
    error = refused(serve(malice), tmp_path)
    assert isinstance(error, ConnectError | SecurityError)
    assert inert(error)


def test_server_with_another_key_learns_nothing(serve: Serve, tmp_path: Path, board: Board) -> None:
    server = serve(Malice())
    kind, _, key = board.public_host_key.partition(" ")
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.board.port} {kind} {key}\n")
    with pytest.raises(SecurityError, match="another board"):
        open_host(server.board.url, key=server.board.key, known_hosts=tmp_path / "known", workspace="work")
    assert server.logged_in == 0
    assert server.asked == []


def test_names_that_lead_outside_never_leave_this_machine(serve: Serve, tmp_path: Path) -> None:
    server = serve(Malice())
    with opened(server, tmp_path) as host:
        for name in ("../../outside", "/etc/outside", ESCAPES, "a\nb", "-rf"):
            with pytest.raises(InputError) as caught:
                host.write(name, b"x")
            assert inert(caught.value)
    assert sorted(path.name for path in server.folder.rglob("*")) == ["work"]


def test_greeting_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 1.0)

    def greet(server: socket.socket) -> None:
        wire, _ = server.accept()
        with wire:
            try:
                while True:
                    wire.sendall(b"h" * 1024)
                    time.sleep(0.001)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,), daemon=True)
        thread.start()
        start = time.monotonic()
        with pytest.raises(ConnectError):
            link.negotiated(SshAddress("127.0.0.1", server.getsockname()[1], "user"), [])
        assert time.monotonic() - start < 10
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_threads_of_the_server_end_with_it(tmp_path: Path) -> None:
    before = threading.active_count()
    with HostileBoard(tmp_path / "board", keys=tmp_path / "keys") as server, opened(server, tmp_path) as host:
        host.write("a", b"a")
    end = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)
