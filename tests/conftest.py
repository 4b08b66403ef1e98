"""A real SSH server on loopback for the tests that need a wire: key login for the user who runs them, nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import sshd
from tests.lab.sshd import Board

sys.path.insert(0, str(Path(__file__).parent))  # for the small models that several folders share

StartBoard = Callable[..., Board]


@pytest.fixture(scope="session", autouse=True)
def _own_board_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that run tests side by side are boards of their own, and so is whatever else measures here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKD_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes run tests, those of a file stay together, for they share what its fixtures built.

    So do those of emulated boards: two of these at once would be too slow for either.
    """
    for item in items:
        file = item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group("tests/lab" if file.startswith("tests/lab/") else file))


@pytest.fixture(scope="session")
def start_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBoard]:
    """Starts SSH servers with keys of their own; further lines go into their configuration."""
    if sshd.SSHD is None:
        pytest.skip("no sshd on this machine: install openssh-server to run the tests over SSH")
    started: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def start(*lines: str, sftp: bool = True) -> Board:
        folder = tmp_path_factory.mktemp("sshd")
        board, server = sshd.start(folder, *lines, sftp=sftp)
        started.append((folder, server))
        return board

    try:
        yield start
    finally:
        for folder, server in started:
            sshd.stop(folder, server.pid)
            server.wait(timeout=10)


@pytest.fixture(scope="session")
def board(start_board: StartBoard) -> Board:
    return start_board()


@pytest.fixture(scope="session")
def bare_board(start_board: StartBoard) -> Board:
    """A board that offers no SFTP, as those with dropbear."""
    return start_board(sftp=False)
