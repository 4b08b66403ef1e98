"""Boards that outlive the program that started them: found again, never started twice, never mistaken for others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest

from edgekd.errors import InputError, ToolError
from tests.lab import boards, sshd
from tests.lab.lab import Lab


def state(lab: Lab) -> dict[str, int]:
    found: dict[str, int] = json.loads((lab.folder / "boards/sshd/state.json").read_text())
    return found


def test_board_is_started_once_and_ended_without_a_trace(lab: Lab) -> None:
    board = lab.up("sshd")
    first = state(lab)
    assert lab.up("sshd") == board
    assert lab.running("sshd") == board
    assert state(lab) == first
    assert sshd.answers(board.port)
    assert lab.down("sshd")
    assert not sshd.answers(board.port)
    assert not sshd.is_alive(first["pid"])
    assert sshd.marked_processes(board.folder) == []
    assert not lab.down("sshd")
    assert lab.running("sshd") is None


def test_board_keeps_port_and_keys_over_a_restart_so_that_trust_lasts(lab: Lab) -> None:
    board = lab.up("sshd")
    fingerprint = board.fingerprint
    lab.down("sshd")
    again = lab.up("sshd")
    assert (again, again.fingerprint) == (board, fingerprint)


def test_board_that_was_killed_is_started_again(lab: Lab) -> None:
    lab.up("sshd")
    pid = state(lab)["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert lab.running("sshd") is None
    lab.up("sshd")
    assert state(lab)["pid"] != pid


def test_board_that_does_not_answer_is_replaced_and_not_joined_by_another(lab: Lab) -> None:
    board = lab.up("sshd")
    pid = state(lab)["pid"]
    os.kill(pid, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", board.port)):  # its process is there, but nobody greets
        assert sshd.is_alive(pid)
    assert lab.up("sshd") == board
    assert not sshd.is_alive(pid)


def test_number_that_another_process_has_meanwhile_is_left_alone(lab: Lab) -> None:
    lab.up("sshd")
    lab.down("sshd")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        path = lab.folder / "boards/sshd/state.json"
        path.write_text(json.dumps({**state(lab), "pid": stranger.pid}))
        assert lab.running("sshd") is None
        assert not lab.down("sshd")
        assert stranger.poll() is None
        stranger.kill()


def test_another_port_than_it_runs_on_is_refused(lab: Lab) -> None:
    board = lab.up("sshd")
    with pytest.raises(InputError, match=f"runs on port {board.port}, not 1.*scripts/lab down sshd"):
        lab.up("sshd", port=1)
    assert lab.up("sshd", port=board.port) == board


def test_unknown_board_is_an_input_error(lab: Lab) -> None:
    for ask in (lab.up, lab.down, lab.running):
        with pytest.raises(InputError, match="expected one of sshd, pi5, jetson, termux"):
            ask("../pi5")


def test_without_root_emulated_boards_say_so_and_the_private_server_runs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="need root"):
        lab.up("pi5")
    assert lab.up("sshd").port


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert any("apt-get install qemu-user-static mmdebstrap" in reason for reason in boards.missing())
