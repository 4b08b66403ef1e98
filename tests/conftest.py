"""A real SSH server on loopback for the tests that need a wire: key login for the user who runs them, nothing else."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the small models that several folders share

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 50
"""
_SFTP = "Subsystem sftp internal-sftp"


@dataclass(frozen=True)
class Board:
    """An SSH server of the tests: where it listens and the files that belong to it."""

    folder: Path
    port: int
    user: str

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def key(self) -> Path:
        return self.folder / "client_key"

    @property
    def public_host_key(self) -> str:
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def known_hosts(self, path: Path) -> Path:
        path.write_text(f"[127.0.0.1]:{self.port} {self.public_host_key}\n")
        return path


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


StartBoard = Callable[..., Board]


@pytest.fixture(scope="session")
def start_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBoard]:
    """Starts SSH servers with keys of their own; further lines go into their configuration."""
    if SSHD is None:
        pytest.skip("no sshd on this machine: install openssh-server to run the tests over SSH")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)  # sshd of root refuses to start without it
    servers: list[subprocess.Popen[bytes]] = []

    def start(*lines: str, sftp: bool = True) -> Board:
        folder = tmp_path_factory.mktemp("sshd")
        make_key(folder / "host_key")
        shutil.copy(make_key(folder / "client_key").with_suffix(".pub"), folder / "authorized_keys")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = "\n".join([_CONFIG.format(port=port, folder=folder), _SFTP if sftp else "", *lines, ""])
        (folder / "sshd_config").write_text(text)
        with (folder / "sshd.log").open("wb") as log:
            servers.append(
                subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log, stdout=log)
            )
        _await_banner(servers[-1], port, folder / "sshd.log")
        return Board(folder, port, getpass.getuser())

    try:
        yield start
    finally:
        for server in servers:
            server.terminate()
            server.wait(timeout=10)


@pytest.fixture(scope="session")
def board(start_board: StartBoard) -> Board:
    return start_board()


@pytest.fixture(scope="session")
def bare_board(start_board: StartBoard) -> Board:
    """A board that offers no SFTP, as those with dropbear."""
    return start_board(sftp=False)


def _await_banner(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(100):
        if server.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
                if wire.recv(4) == b"SSH-":
                    return
        except ConnectionRefusedError:
            time.sleep(0.05)
    pytest.fail(f"the test's sshd did not start: {log.read_text()[-2000:]}")
