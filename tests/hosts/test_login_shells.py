"""Boards whose login shell is another: what is sent is one line that each of them takes, noise or not."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.errors import HostTimeout
from edgekd.hosts.open import open_host
from tests.lab.sshd import Board

SHELLS = ("busybox sh", "csh", "fish")  # bash and dash have every other test over SSH
WORDS = ("plain", "two words", "it's", '"', "$HOME", "a;b", "*", "ünï", "-n", "`id`", "a!b !!", "~", "{a,b}", "", "\\")
ECHO = ("python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *WORDS)


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_takes_our_commands(shell: str, start_board: Callable[..., Board], tmp_path: Path) -> None:
    """sshd hands each command to `shell`, as it does for an account that has it in /etc/passwd; files take that way, too."""
    program, *words = shell.split()
    place = shutil.which(program)
    if place is None:
        pytest.skip(f"no {program} here")
    wrapper = tmp_path / "login"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([place, *words])} -c "$SSH_ORIGINAL_COMMAND"\n')
    wrapper.chmod(0o755)
    board = start_board(f"ForceCommand {wrapper}", sftp=False)
    known, data = board.known_hosts(tmp_path / "known"), os.urandom(300_000)
    (tmp_path / "model").write_bytes(data)
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        assert host.run(ECHO, timeout_s=20).stdout == ascii(list(WORDS)) + "\n"
        assert host.put(tmp_path / "model", "blobs/m") is True
        assert host.put(tmp_path / "model", "blobs/m") is False
        assert host.read("blobs/m", max_bytes=300_000) == data
        with pytest.raises(HostTimeout):
            host.run(["sleep", "60"], timeout_s=0.3)
