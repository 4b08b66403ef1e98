from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import HostError, HostTimeout, Stalled
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.hops import connected
from edgekd.hosts.open import open_host
from edgekd.hosts.remote_command import Feed, run_command
from edgekd.hosts.target import Hop, Login


@pytest.fixture
def known(board: Any, tmp_path: Path) -> Path:
    path: Path = board.known_hosts(tmp_path / "known_hosts")
    return path


@pytest.fixture
def transport(board: Any, known: Path) -> Iterator[Any]:
    address = SshAddress("127.0.0.1", board.port, board.user)
    link = connected([Hop(address, Login(board.key), known)])
    yield link.transport
    link.close()


def test_lost_connection_during_a_command_is_a_host_error(board: Any, known: Path, tmp_path: Path) -> None:
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        with pytest.raises(HostError, match="link broke"):
            host.run(["sh", "-c", "kill -9 $PPID; sleep 1"], timeout_s=20)
        with pytest.raises(HostError):
            host.read("anything", max_bytes=10)


def test_process_left_in_the_background_does_not_hold_up_the_command(transport: Any, tmp_path: Path) -> None:
    start = time.monotonic()
    argv = ["sh", "-c", "echo done; sleep 5 &"]
    done = run_command(transport, argv, name="b", folder=str(tmp_path), timeout_s=20, max_output_bytes=100)
    assert (done.exit_status, done.out) == (0, b"done\n")
    assert time.monotonic() - start < 4


def test_command_given_no_time_at_all_is_stopped_too(transport: Any, tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 2; touch late"]
    with pytest.raises(HostTimeout):
        run_command(transport, argv, name="b", folder=str(tmp_path), timeout_s=0.001, max_output_bytes=100)
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


def test_folder_that_is_missing_is_told_in_the_boards_words(transport: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "absent")
    with pytest.raises(HostError, match=r"did not start a command in .*absent.*it said: "):
        run_command(transport, ["true"], name="b", folder=folder, timeout_s=20, max_output_bytes=100)


def test_command_gets_its_input_whole(transport: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    done = run_command(
        transport, ["sha256sum"], name="b", folder=str(tmp_path), timeout_s=20, max_output_bytes=100,
        feed=Feed(io.BytesIO(data)),
    )  # fmt: skip
    assert done.out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_command_that_ends_before_its_input_does_is_not_waited_for(transport: Any, tmp_path: Path) -> None:
    done = run_command(
        transport, ["sh", "-c", "exit 3"], name="b", folder=str(tmp_path), timeout_s=20, max_output_bytes=100,
        feed=Feed(io.BytesIO(bytes(2**24))),
    )  # fmt: skip
    assert done.exit_status == 3


def test_command_that_takes_no_input_is_stopped_before_its_deadline(transport: Any, tmp_path: Path) -> None:
    with pytest.raises(Stalled, match="has taken no data for a long time"):
        run_command(
            transport, ["sleep", "60"], name="b", folder=str(tmp_path), timeout_s=50, max_output_bytes=100,
            feed=Feed(io.BytesIO(bytes(2**24)), stall_s=0.5),
        )  # fmt: skip


@pytest.mark.parametrize("line", ["echo hello; exit 3", "exec true", "export PATH=/nowhere"])
def test_login_shell_whose_start_files_end_it_is_told_with_what_to_look_at(
    start_board: Any, tmp_path: Path, line: str
) -> None:
    """As bash reads ~/.bashrc for what sshd gives it."""
    (tmp_path / ".bashrc").write_text(f"{line}\n")
    odd = start_board(f"SetEnv HOME={tmp_path}")
    known = odd.known_hosts(tmp_path / "known")
    with pytest.raises(
        HostError, match=r"did not start a command in \.; it said: .*start-up files, such as ~/\.bashrc"
    ):
        open_host(odd.url, key=odd.key, known_hosts=known, workspace=str(tmp_path / "work"))
