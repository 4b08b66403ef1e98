from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_server import Asking, stub_server

from edgekd.errors import ConnectError, InputError, SecurityError
from edgekd.hosts import link
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.hops import connected
from edgekd.hosts.open import open_host
from edgekd.hosts.target import Hop, Login
from tests.lab.chaos import ChaosProxy, Direction, Faults


@pytest.fixture
def known(board: Any, tmp_path: Path) -> Path:
    path: Path = board.known_hosts(tmp_path / "known_hosts")
    return path


def _key(path: Path) -> Path:
    paramiko = link.paramiko
    with path.open("w") as stream:
        paramiko.ECDSAKey.generate(bits=256).write_private_key(stream)
    path.chmod(0o600)
    return path


def _other_host_key(path: Path) -> str:
    key = link.paramiko.PKey.from_path(_key(path))
    return f"{key.get_name()} {key.get_base64()}"


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_unknown_host_key_is_refused_with_the_command_that_trusts_it(board: Any, tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="not known here") as caught:
        open_host(board.url, key=board.key, known_hosts=tmp_path / "none", workspace=str(tmp_path / "work"))
    assert f"edgekd devices trust ssh://127.0.0.1:{board.port} --fingerprint SHA256:" in str(caught.value)
    assert caught.value.exit_code == 5


def test_host_key_of_another_board_is_refused(board: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    open_key = link.paramiko.PKey.from_path(board.key)
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{board.port} {open_key.get_name()} {open_key.get_base64()}\n")
    with pytest.raises(SecurityError, match="another board"):
        open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"))
    known.write_text(f"[127.0.0.1]:{board.port} {_other_host_key(other)}\n")
    with pytest.raises(SecurityError, match="no host key of the kind trusted"):
        open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"))


def test_key_trusted_for_another_port_does_not_count(board: Any, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:22 {board.public_host_key}\n")
    with pytest.raises(SecurityError, match="not known here"):
        open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"))


def test_client_key_the_board_does_not_know_is_a_connect_error(board: Any, known: Path, tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="does not accept the key"):
        open_host(board.url, key=_key(tmp_path / "stranger"), known_hosts=known, workspace=str(tmp_path / "work"))


def test_key_file_others_may_read_is_refused(board: Any, known: Path, tmp_path: Path) -> None:
    key = _key(tmp_path / "open")
    key.chmod(0o644)
    with pytest.raises(SecurityError, match="chmod 600"):
        open_host(board.url, key=key, known_hosts=known, workspace=str(tmp_path / "work"))


def test_key_file_that_is_none_or_has_a_passphrase_is_an_input_error(board: Any, known: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_text("not a key")
    noise.chmod(0o600)
    with pytest.raises(InputError, match="not a private key"):
        open_host(board.url, key=noise, known_hosts=known, workspace=str(tmp_path / "work"))
    with pytest.raises(InputError, match="no such file"):
        open_host(board.url, key=tmp_path / "absent", known_hosts=known, workspace=str(tmp_path / "work"))
    locked = tmp_path / "locked"
    with locked.open("w") as stream:
        link.paramiko.ECDSAKey.generate(bits=256).write_private_key(stream, password="word")
    locked.chmod(0o600)
    with pytest.raises(InputError, match="passphrase"):
        open_host(board.url, key=locked, known_hosts=known, workspace=str(tmp_path / "work"))


def test_closed_port_is_a_connect_error(board: Any, known: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectError, match="nothing listens"):
        open_host(
            f"ssh://{board.user}@127.0.0.1:{port}", key=board.key, known_hosts=known, workspace=str(tmp_path / "work")
        )


def test_server_that_says_nothing_is_given_up(
    board: Any, known: Path, deaf_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with pytest.raises(ConnectError):
        open_host(
            f"ssh://{board.user}@127.0.0.1:{deaf_port}",
            key=board.key,
            known_hosts=known,
            workspace=str(tmp_path / "work"),
        )
    assert time.monotonic() - start < 5


def test_connection_uses_neither_cbc_nor_broken_hashes(board: Any, known: Path, tmp_path: Path) -> None:
    hop = Hop(SshAddress("127.0.0.1", board.port, board.user), Login(board.key), known)
    transport = connected([hop]).transport
    try:
        assert "cbc" not in transport.local_cipher + transport.remote_cipher
        assert not {"hmac-sha1", "hmac-md5"} & {transport.local_mac, transport.remote_mac}
        assert not any("cbc" in cipher for cipher in transport.preferred_ciphers)
    finally:
        transport.close()


@pytest.mark.parametrize(
    "algorithms",
    [
        {"ciphers": ("aes128-cbc", "3des-cbc")},
        {"digests": ("hmac-sha1", "hmac-md5")},
    ],
    ids=["cbc", "sha1-md5"],
)
def test_server_that_offers_only_what_is_broken_is_refused(
    algorithms: dict[str, Any], board: Any, tmp_path: Path
) -> None:
    interface = Asking("publickey", key_is_enough=True)
    with stub_server(interface, **algorithms) as (port, key):
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        with pytest.raises(SecurityError, match="no longer safe"):
            connected([Hop(SshAddress("127.0.0.1", port, "u"), Login(board.key), known)])
    assert interface.tried == []


def test_stub_server_takes_a_login_when_nothing_in_it_is_broken(board: Any, tmp_path: Path) -> None:
    with stub_server(Asking("publickey", key_is_enough=True)) as (port, key):
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        connected([Hop(SshAddress("127.0.0.1", port, "u"), Login(board.key), known)]).close()


def test_nothing_is_tried_at_a_board_whose_key_is_unknown(board: Any, tmp_path: Path) -> None:
    interface = Asking("publickey,password")
    with stub_server(interface) as (port, _), pytest.raises(SecurityError, match="not known here"):
        connected([Hop(SshAddress("127.0.0.1", port, "u"), Login(board.key), tmp_path / "none")])
    assert interface.tried == []


def _addresses(*places: tuple[str, int]) -> Any:
    def lookup(*_: Any, **__: Any) -> list[Any]:
        kinds = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in places]
        pairs = zip(kinds, places, strict=True)
        return [(kind, socket.SOCK_STREAM, 6, "", place) for kind, place in pairs]

    return lookup


def test_board_with_a_broken_ipv6_address_is_reached_by_its_other_one(
    board: Any, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ("::1", 1), ("127.0.0.1", board.port)
    monkeypatch.setattr(socket, "getaddrinfo", _addresses(*broken))
    connected([Hop(SshAddress("127.0.0.1", board.port, board.user), Login(board.key), known)]).close()


def test_address_that_swallows_everything_costs_its_time_and_no_more(
    board: Any, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "DIAL_TIMEOUT_S", 0.5)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        place = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # until its queue is full, and it answers nobody any more
            one.setblocking(False)
            one.connect_ex(place)
        monkeypatch.setattr(socket, "getaddrinfo", _addresses(place, ("127.0.0.1", board.port)))
        start = time.monotonic()
        connected([Hop(SshAddress("127.0.0.1", board.port, board.user), Login(board.key), known)]).close()
        assert 0.4 < time.monotonic() - start < 10
        for one in waiting:
            one.close()


def test_nothing_that_turns_checks_off_or_asks_for_more_is_named_anywhere() -> None:
    """What would accept any host key, ask a person, take a terminal or forward: none of it stands in the program."""
    words = (
        "AutoAddPolicy", "WarningPolicy", "MissingHostKeyPolicy", "SSHClient", "SSHConfig", "ProxyCommand",
        "auth_interactive", "get_pty", "invoke_shell", "request_x11", "request_port_forward", "AgentRequestHandler",
        "StrictHostKeyChecking", "SFTPClient.get", ".listdir", "shell=True",
    )  # fmt: skip
    sources = {path: path.read_text() for path in Path(link.__file__).parents[1].rglob("*.py")}
    assert len(sources) > 100
    found = [(path.name, word) for path, text in sources.items() for word in words if word in text]
    assert found == []


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_bit_turned_in_the_handshake_is_never_a_bug_of_ours(
    board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: Direction
) -> None:
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 0.5)  # a turned length is waited for
    known = tmp_path / "known"
    for after in range(60, 1000, 90):
        with ChaosProxy(board.port, Faults(kind="flip", after_bytes=after, direction=direction), seed=after) as proxy:
            known.write_text(f"[127.0.0.1]:{proxy.port} {board.public_host_key}\n")
            url = f"ssh://{board.user}@127.0.0.1:{proxy.port}"
            with pytest.raises((ConnectError, SecurityError)):
                open_host(url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"))


def test_a_name_of_an_algorithm_that_is_no_text_is_told_as_damage(board: Any, tmp_path: Path) -> None:
    known = tmp_path / "known"
    with ChaosProxy(board.port, Faults(kind="flip", after_bytes=204, direction="down"), seed=36) as proxy:
        known.write_text(f"[127.0.0.1]:{proxy.port} {board.public_host_key}\n")
        url = f"ssh://{board.user}@127.0.0.1:{proxy.port}"
        # Which of the two threads of a connection meets the damage first is chance, and with it the words.
        with pytest.raises(ConnectError, match=r"arrived damaged|closed the connection|could be agreed on"):
            open_host(url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work"))


def test_small_packets_do_not_wait_for_acknowledgements(board: Any, known: Path) -> None:
    connection = connected([Hop(SshAddress("127.0.0.1", board.port, board.user), Login(board.key), known)])
    try:
        assert connection.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    finally:
        connection.close()
