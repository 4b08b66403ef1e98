from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from edgekd.errors import SecurityError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url
from edgekd.hosts.known_hosts import HostKey, known_hosts_path, read_known_hosts, write_known_host

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFbTzYMHSCqGa9TfFLSo0eSbUDXWYaXyqbYZQXCOpt3n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"@revoked [board]:22 {KEY}", "marker"),
        (f"@cert-authority [board]:22 {KEY}", "marker"),
        (f"*.lan {KEY}", "pattern"),
        (f"[boar?]:22 {KEY}", "pattern"),
        (f"!board {KEY}", "pattern"),
        (f"[board]:22,[10.0.0.7]:22 {KEY}", "pattern or list"),
        (f"|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {KEY}", "hashed"),
        (f"board {KEY}", "found the host"),
        ("[board]:22", "no key"),
        ("[board]:22 ssh-dss AAAA", "no key"),
        ("[board]:22 ssh-ed25519 not-base64", "damaged"),
    ],
)
def test_line_that_is_not_one_host_and_one_key_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "known"
    path.write_text(f"# comment\n\n[other]:22 {KEY}\n{line}\n")
    with pytest.raises(SecurityError, match=said) as caught:
        read_known_hosts(path)
    assert str(caught.value).startswith(f"{path}:4: ")


def test_written_key_is_read_back_and_replaces_only_that_hosts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known"
    first, second = HostKey("ssh-ed25519", b"first"), HostKey("ssh-ed25519", b"second")
    write_known_host(path, SshAddress("board", 22), first)
    write_known_host(path, SshAddress("board", 2222), first)
    write_known_host(path, SshAddress("board", 22), second)
    assert read_known_hosts(path) == {"[board]:22": [second], "[board]:2222": [first]}


def test_default_file_is_edgekds_own() -> None:
    assert known_hosts_path().parts[-3:] == (".config", "edgekd", "known_hosts")


def test_file_that_anybody_may_write_is_refused_with_its_mend(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text(f"[board]:22 {KEY}\n")
    path.chmod(0o646)
    with pytest.raises(SecurityError, match=f"anybody may write it.*chmod go-w {path}"):
        read_known_hosts(path)
    path.chmod(0o644)
    assert list(read_known_hosts(path)) == ["[board]:22"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "known"
    path.write_text(f"[board]:22 {KEY}\n")
    os.chown(path, 12345, -1)
    with pytest.raises(SecurityError, match="belongs to the user number 12345"):
        read_known_hosts(path)


def test_address_of_one_network_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """An interface is called in its own case, and a line that cannot be read again would close the whole file."""
    path, key = tmp_path / "known", HostKey("ssh-ed25519", b"first")
    address = ssh_address_from_url("ssh://pi@[FE80::1%enP8p1s0]:22")
    write_known_host(path, address, key)
    assert read_known_hosts(path) == {"[fe80::1%enP8p1s0]:22": [key]}
    assert address.entry == "[fe80::1%enP8p1s0]:22"


def trust_some(path: Path, first: int) -> None:
    for port in range(first, first + 20):
        write_known_host(path, SshAddress("board", port), HostKey("ssh-ed25519", bytes([first // 100])))


def test_those_who_trust_boards_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=trust_some, args=(path, first)) for first in (100, 200, 300)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert len(read_known_hosts(path)) == 60
