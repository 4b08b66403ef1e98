"""Boards whose disk is read-only, as one is after its card failed: told with the place and the way out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekd.errors import DiskFull, HostError
from edgekd.hosts.open import open_host
from tests.lab.sshd import Board

# Each command of the board sees a file system of its own on its home, which needs no root.
SESSION = """#!/bin/sh
exec unshare --user --map-root-user --mount sh -c '
    mount -t tmpfs tmpfs "$HOME" && mkdir -p {folders} && mount -o remount,ro "$HOME" && cd "$HOME" &&
    exec sh -c "$SSH_ORIGINAL_COMMAND"'
"""


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ("", r"the workspace \.edgekd there cannot be made \(.*Read-only file system.*\).* hosts\.yaml: workspace"),
        (".edgekd/blobs", r"Read-only file system"),
    ],
    ids=["before it was used", "since then"],
)
def test_home_that_is_read_only_is_told_as_it_is(
    there: str, said: str, start_board: Callable[..., Board], tmp_path: Path
) -> None:
    home, session, model = tmp_path / "home", tmp_path / "session", tmp_path / "model"
    home.mkdir()
    session.write_text(SESSION.format(folders=f'"$HOME/{there}"'))
    session.chmod(0o755)
    model.write_bytes(b"model")
    board = start_board(f"SetEnv HOME={home}", f"ForceCommand {session}", sftp=False)
    known = board.known_hosts(tmp_path / "known")
    with (
        pytest.raises(HostError, match=said) as caught,
        open_host(board.url, key=board.key, known_hosts=known) as host,
    ):
        host.put(model, "blobs/m")
    assert not isinstance(caught.value, DiskFull)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{board.user}@127.0.0.1:{board.port}: ")


def test_home_of_this_machine_that_is_read_only_is_told_when_it_is_opened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = 'mount -t tmpfs -o ro tmpfs "$HOME" && exec "$@"'
    program = (
        "import sys; from edgekd.errors import EdgekdError; from edgekd.hosts.open import open_host\n"
        "try: open_host('local', workspace=sys.argv[1])\n"
        "except EdgekdError as error: print(error); sys.exit(error.exit_code)"
    )
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", program]
    done = subprocess.run(
        [*words, str(home / ".edgekd")], env={"HOME": str(home), "PYTHONPATH": ":".join(sys.path)}, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith(f"{home}/.edgekd: ")
    assert "no permission to write there" in done.stdout
