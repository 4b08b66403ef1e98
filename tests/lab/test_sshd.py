from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.errors import ToolError
from edgekd.hosts.open import open_host
from edgekd.hosts.trust import fetch_host_key
from tests.lab import sshd
from tests.lab.sshd import Board

# A process that leaves its session and its parent, as a program does that is to live on.
DETACHED = """
import os, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        open("pid", "w").write(str(os.getpid()))
        open("ready", "w").close()
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists("ready"):
    time.sleep(0.01)
"""


def test_board_is_reached_by_its_key_and_tells_its_fingerprint(board: Board, tmp_path: Path) -> None:
    known = board.known_hosts(tmp_path / "known")
    assert fetch_host_key("127.0.0.1", board.port).fingerprint == board.fingerprint
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        assert host.run(["sh", "-c", f"echo ${sshd.MARK}"], timeout_s=20).stdout == f"{sshd.mark(board.folder)}\n"


def test_board_listens_on_loopback_alone(board: Board) -> None:
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
    assert [place for place in listening if place.endswith(f":{board.port:04X}")] == [f"0100007F:{board.port:04X}"]


def test_stopping_ends_connections_and_what_their_commands_detached(tmp_path: Path) -> None:
    board, server = sshd.start(tmp_path)
    work = tmp_path / "work"
    known = board.known_hosts(tmp_path / "known")
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(work), python=sys.executable) as host:
        host.run([host.python, "-c", DETACHED], timeout_s=20)
        pid = int((work / "pid").read_text())
        assert sshd.is_alive(pid)
        assert pid in sshd.marked_processes(tmp_path)
        sshd.stop(tmp_path, server.pid)
    server.wait(timeout=10)
    assert not sshd.is_alive(pid)
    assert sshd.marked_processes(tmp_path) == []
    assert not sshd.answers(board.port)


def test_port_that_is_taken_is_refused_even_when_an_ssh_server_has_it(board: Board, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=f"port {board.port} of 127.0.0.1 cannot be used.*in use"):
        sshd.start(tmp_path, port=board.port)


def test_server_that_does_not_start_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    sshd.make_keys(tmp_path)
    (tmp_path / "host_key").write_text("no key")
    with pytest.raises(ToolError, match=r"did not start: [\s\S]*no hostkeys available"):
        sshd.start(tmp_path)


def test_keys_are_made_once(tmp_path: Path) -> None:
    sshd.make_keys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sshd.make_keys(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ending_processes_waits_for_them_and_forgets_those_that_are_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        sshd.end_processes({process.pid, 2**22 + 1})
        assert not sshd.is_alive(process.pid)
    assert process.returncode == -9


def test_board_without_sftp_still_runs_commands(bare_board: Board, tmp_path: Path) -> None:
    """By OpenSSH's own client, whose exit status 255 says that a subsystem was refused."""
    known = bare_board.known_hosts(tmp_path / "known")
    ssh = (
        "ssh",
        "-F",
        "none",
        "-o",
        f"UserKnownHostsFile={known}",
        "-i",
        str(bare_board.key),
        "-p",
        str(bare_board.port),
    )
    there = f"{bare_board.user}@127.0.0.1"
    assert subprocess.run([*ssh, there, "echo said"], capture_output=True, timeout=30).stdout == b"said\n"
    assert subprocess.run([*ssh, "-s", there, "sftp"], capture_output=True, timeout=30, input=b"").returncode != 0


def test_environment_that_a_test_asks_for_stands_beside_the_mark(tmp_path: Path) -> None:
    board, server = sshd.start(tmp_path, "SetEnv PHONE=yes PLACE=here")
    try:
        known = board.known_hosts(tmp_path / "known")
        with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
            said = host.run(["sh", "-c", f"echo $PHONE $PLACE ${sshd.MARK}"], timeout_s=20).stdout
    finally:
        sshd.stop(tmp_path, server.pid)
        server.wait(timeout=10)
    assert said == f"yes here {sshd.mark(tmp_path)}\n"
