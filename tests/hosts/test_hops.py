"""Two real servers, one in front of the other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ConnectError, LinkLost, SecurityError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url
from edgekd.hosts.hops import connected
from edgekd.hosts.open import open_target
from edgekd.hosts.resolve import target_from_text
from edgekd.hosts.target import Hop, Login
from edgekd.hosts.trust import trust
from tests.lab.chaos import ChaosProxy


def hop(board: Any, known: Path, port: int | None = None) -> Hop:
    return Hop(SshAddress("127.0.0.1", port or board.port, board.user), Login(board.key), known)


def known_as(path: Path, *lines: tuple[int, str]) -> Path:
    path.write_text("".join(f"[127.0.0.1]:{port} {key}\n" for port, key in lines))
    return path


@pytest.fixture
def both(board: Any, bare_board: Any, tmp_path: Path) -> Path:
    """Trusts both servers."""
    lines = ((board.port, board.public_host_key), (bare_board.port, bare_board.public_host_key))
    return known_as(tmp_path / "known", *lines)


def test_board_is_reached_through_the_server_in_front_of_it(
    board: Any, bare_board: Any, both: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(f"""
hosts:
  far:
    url: {bare_board.url}
    key: {bare_board.key}
    known_hosts: {both}
    workspace: {tmp_path / "work"}
    jump: [{{url: "{board.url}", key: {board.key}}}]
""")
    path.chmod(0o600)
    before = threading.active_count()
    with open_target(target_from_text("far", hosts=path)) as host:
        assert host.name == bare_board.url.removeprefix("ssh://")
        host.write("a/b", b"through")
        assert host.read("a/b", max_bytes=10) == b"through"
        shown = host.run(["sh", "-c", "echo $SSH_CONNECTION; echo $PPID"], timeout_s=20).stdout.split()
        assert shown[3] == str(bare_board.port)
    assert (tmp_path / "work" / "a" / "b").read_bytes() == b"through"
    assert threading.active_count() <= before


def test_wrong_key_of_the_first_server_stops_before_the_second_is_contacted(
    board: Any, bare_board: Any, tmp_path: Path
) -> None:
    with ChaosProxy(bare_board.port) as second:
        known = known_as(
            tmp_path / "known",
            (board.port, bare_board.public_host_key),
            (second.port, bare_board.public_host_key),
        )
        with pytest.raises(
            SecurityError, match=rf"127\.0\.0\.1:{board.port}: identifies itself .* is trusted"
        ) as caught:
            connected([hop(board, known), hop(bare_board, known, second.port)])
        assert second.connections == 0
    assert caught.value.exit_code == 5
    accepted = [line for line in (board.folder / "sshd.log").read_text().splitlines() if "direct" in line]
    assert accepted == []


def test_each_server_is_known_by_its_own_name_and_key_alone(
    board: Any, bare_board: Any, both: Path, tmp_path: Path
) -> None:
    first = known_as(tmp_path / "first", (board.port, board.public_host_key))
    with pytest.raises(SecurityError, match=f"{bare_board.port}.*not known here"):
        connected([hop(board, both), hop(bare_board, first)])
    swapped = known_as(tmp_path / "swapped", (bare_board.port, board.public_host_key))
    with pytest.raises(SecurityError, match=rf"{bare_board.port}: identifies itself by .* but .* is trusted"):
        connected([hop(board, both), hop(bare_board, swapped)])


def test_board_that_the_server_in_front_cannot_reach_is_a_connect_error(board: Any, both: Path) -> None:
    absent = Hop(SshAddress("127.0.0.1", 1, "u"), Login(board.key), both)
    with pytest.raises(ConnectError, match="cannot be reached from the server in front of it, 127"):
        connected([hop(board, both), absent])


def test_key_that_cannot_be_used_is_told_before_any_server_is_contacted(board: Any, both: Path, tmp_path: Path) -> None:
    (tmp_path / "open").write_text("key")
    (tmp_path / "open").chmod(0o644)
    with ChaosProxy(board.port) as wire:
        first = hop(board, known_as(tmp_path / "k", (wire.port, board.public_host_key)), wire.port)
        bad = Hop(SshAddress("127.0.0.1", 2, "u"), Login(tmp_path / "open"), both)
        with pytest.raises(SecurityError, match="chmod 600"):
            connected([first, bad])
        assert wire.connections == 0


def test_front_server_that_goes_away_ends_what_runs_behind_it(
    board: Any, bare_board: Any, both: Path, tmp_path: Path
) -> None:
    with ChaosProxy(board.port) as wire:
        known = known_as(
            tmp_path / "k",
            (wire.port, board.public_host_key),
            (bare_board.port, bare_board.public_host_key),
        )
        link = connected([hop(board, known, wire.port), hop(bare_board, known)])
    from edgekd.hosts.remote_command import run_command

    try:
        with pytest.raises(LinkLost):
            run_command(link.transport, ["true"], name="b", folder=".", timeout_s=10, max_output_bytes=10)
    finally:
        link.close()


def test_board_behind_another_is_trusted_through_it(board: Any, bare_board: Any, tmp_path: Path) -> None:
    known = known_as(tmp_path / "known", (board.port, board.public_host_key))
    path = tmp_path / "hosts.yaml"
    path.write_text(f"""
hosts:
  far: {{url: "{bare_board.url}", known_hosts: known, jump: [{{url: "{board.url}", key: {board.key}}}]}}
""")
    path.chmod(0o600)
    from edgekd.hosts.trust import fetch_host_key

    right = fetch_host_key("127.0.0.1", bare_board.port)
    assert trust("far", right.fingerprint, hosts=path) == right
    assert ssh_address_from_url(bare_board.url).entry in known.read_text()
