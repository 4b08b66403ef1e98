from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ConnectError, InputError, SecurityError
from edgekd.hosts.open import open_host
from edgekd.hosts.trust import fetch_host_key, trust


def test_fingerprint_is_the_one_ssh_keygen_shows(board: Any) -> None:
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(board.folder / "host_key.pub")], check=True, capture_output=True, text=True
    ).stdout
    assert fetch_host_key("127.0.0.1", board.port).fingerprint == said.split()[1]


def test_trusting_the_right_fingerprint_opens_the_board(board: Any, tmp_path: Path) -> None:
    known = tmp_path / "known"
    key = fetch_host_key("127.0.0.1", board.port)
    assert trust(board.url, key.fingerprint, known) == key
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        assert host.run(["true"], timeout_s=10).exit_status == 0


def test_another_fingerprint_is_refused_and_nothing_is_stored(board: Any, tmp_path: Path) -> None:
    known = tmp_path / "known"
    with pytest.raises(SecurityError, match="Nothing was stored"):
        trust(board.url, "SHA256:" + "A" * 43, known)
    assert not known.exists()


@pytest.mark.parametrize("fingerprint", ["", "SHA256:", "SHA256:abc", "MD5:aa:bb", "A" * 43])
def test_shortened_fingerprint_is_an_input_error(fingerprint: str) -> None:
    with pytest.raises(InputError, match="43 characters"):
        trust("ssh://board", fingerprint)


def test_fetching_from_no_server_is_a_connect_error() -> None:
    with pytest.raises(ConnectError, match="no such host name"):
        fetch_host_key("board.invalid", 22)
