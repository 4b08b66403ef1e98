"""Logging in: by what was named, by nothing else, and without a word to whoever asks."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_server import Asking, stub_server

from edgekd.errors import ConnectError, EdgekdError, InputError
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.hops import connected
from edgekd.hosts.secret import Secret
from edgekd.hosts.target import Hop, Login

WORD = "hunter2-never-shown"


@pytest.fixture
def known(board: Any, tmp_path: Path) -> Path:
    path: Path = board.known_hosts(tmp_path / "known_hosts")
    return path


def refused(login: Login, interface: Asking, tmp_path: Path, **algorithms: Any) -> EdgekdError:
    """The error of logging in to a stub server that is trusted."""
    with stub_server(interface, **algorithms) as (port, key):
        known = tmp_path / "stub_known"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        with pytest.raises(EdgekdError) as caught:
            connected([Hop(SshAddress("127.0.0.1", port, "u"), login, known)])
        return caught.value


@pytest.mark.parametrize("methods", ["keyboard-interactive", "publickey,keyboard-interactive"])
def test_server_that_asks_questions_gets_no_answer_and_shows_nothing(
    methods: str, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed by a person\n"))
    interface = Asking(methods)
    start = time.monotonic()
    error = refused(Login(board.key), interface, tmp_path)
    assert isinstance(error, ConnectError)
    assert time.monotonic() - start < 15
    assert "keyboard-interactive" not in interface.tried
    assert capfd.readouterr() == ("", "")
    assert sys.stdin.read() == "typed by a person\n"
    assert "\x1b" not in str(error)


def test_password_is_no_answer_to_questions_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PI_WORD", WORD)
    interface = Asking("keyboard-interactive")
    error = refused(Login(password=Secret("env:PI_WORD", tmp_path)), interface, tmp_path)
    assert not [tried for tried in interface.tried if tried.startswith(("keyboard", "answered"))]
    assert "env:PI_WORD" in str(error)
    assert WORD not in str(error)
    assert capfd.readouterr() == ("", "")


def test_refused_password_is_in_no_message_log_or_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    monkeypatch.setenv("PI_WORD", WORD)
    interface = Asking("password")
    error = refused(Login(password=Secret("env:PI_WORD", tmp_path)), interface, tmp_path)
    assert interface.tried == ["password"]
    assert "does not accept the password in env:PI_WORD" in str(error)
    assert WORD not in f"{error!r}{caplog.text}"
    assert error.__cause__ is None


def test_password_logs_in_where_it_was_asked_for_by_reference(tmp_path: Path) -> None:
    (tmp_path / "word").write_text(f"{WORD}\n")
    (tmp_path / "word").chmod(0o600)
    interface = Asking("password", password=WORD)
    with stub_server(interface) as (port, key):
        known = tmp_path / "stub_known"
        known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
        login = Login(password=Secret("file:word", tmp_path))
        connected([Hop(SshAddress("127.0.0.1", port, "u"), login, known)]).close()
    assert interface.tried == ["password"]


def test_password_that_is_not_set_is_told_before_the_server_is_contacted(tmp_path: Path) -> None:
    interface = Asking("password")
    error = refused(Login(password=Secret("env:EDGEKD_NO_SUCH_WORD", tmp_path)), interface, tmp_path)
    assert isinstance(error, InputError)
    assert interface.tried == []


@pytest.fixture
def listening_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Something that listens where an agent would, and a home full of keys."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.settimeout(0.2)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        yield agent


def test_neither_agent_nor_keys_of_the_home_nor_ssh_config_are_looked_for(
    board: Any, known: Path, listening_agent: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_bytes(board.key.read_bytes())
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    touched = tmp_path / "touched"
    (home / ".ssh" / "config").write_text(f'Match exec "touch {touched}"\n  ProxyCommand touch {touched}\n')
    monkeypatch.setenv("HOME", str(home))
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    address = SshAddress("127.0.0.1", board.port, board.user)
    with pytest.raises(ConnectError, match="does not accept the key"):
        connected([Hop(address, Login(stranger), known)])
    connected([Hop(address, Login(board.key), known)]).close()
    assert not touched.exists()
    with pytest.raises(TimeoutError):
        listening_agent.accept()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real agent, with no key in it."""
    place = tmp_path / "real_agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL) as process:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        while subprocess.run(["ssh-add", "-l"], capture_output=True).returncode == 2:  # no agent yet
            time.sleep(0.02)
        yield
        process.terminate()


@pytest.mark.usefixtures("agent")
def test_agent_logs_in_when_it_was_asked_for_by_name(board: Any, known: Path, tmp_path: Path) -> None:
    hop = Hop(SshAddress("127.0.0.1", board.port, board.user), Login(agent=True), known)
    with pytest.raises(InputError, match="ssh-add FILE"):
        connected([hop])
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    subprocess.run(["ssh-add", "-q", str(stranger)], check=True, env=dict(os.environ))
    with pytest.raises(ConnectError, match="does not accept any key of the SSH agent"):
        connected([hop])
    subprocess.run(["ssh-add", "-q", str(board.key)], check=True, env=dict(os.environ))
    connected([hop]).close()
    for number in range(4):
        more = tmp_path / f"more{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(more)], check=True)
        subprocess.run(["ssh-add", "-q", str(more)], check=True, env=dict(os.environ))
    with pytest.raises(InputError, match="holds 6 keys"):
        connected([hop])


def test_unset_agent_is_told(known: Path, board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(InputError, match="holds no key, or none runs"):
        connected([Hop(SshAddress("127.0.0.1", board.port, board.user), Login(agent=True), known)])
