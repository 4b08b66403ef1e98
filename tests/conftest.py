"""A real SSH server on loopback for the tests that need a wire: key login for the user who runs them, nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import sshd
from tests.lab.sshd import Board

sys.path.insert(0, str(Path(__file__).parent))  # for the small models that several folders share


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    if sshd.SSHD is None:
        pytest.skip("no sshd on this machine: install openssh-server to run the tests over SSH")
    folder = tmp_path_factory.mktemp("sshd")
    running, server = sshd.start(folder)
    try:
        yield running
    finally:
        sshd.stop(folder, server.pid)
        server.wait(timeout=10)
