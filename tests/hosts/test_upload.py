"""Uploads through a wire that breaks: nothing is sent twice, and nothing half-done takes its place."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ConnectError, DiskFull, HostError, LinkLost, Stalled
from edgekd.hosts import upload
from edgekd.hosts.base import Completed
from edgekd.hosts.board_scripts import BLOCK_BYTES, DIFFERS, LOOK, NO_HASHER, SETTLE
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.ssh import SshHost
from edgekd.hosts.target import Hop, Login
from tests.lab.chaos import ChaosProxy, Faults

SIZE = 2 * 2**20 + 12345


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    return path


@pytest.fixture(params=["sftp", "shell"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("board" if request.param == "sftp" else "bare_board")


def through(wire: ChaosProxy, board: Any, tmp_path: Path, **settings: Any) -> SshHost:
    """The board as it is seen through `wire`."""
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{wire.port} {board.public_host_key}\n")
    hop = Hop(SshAddress("127.0.0.1", wire.port, board.user), Login(board.key), known)
    return SshHost([hop], workspace=str(tmp_path / "work"), **settings)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_second_upload_sends_next_to_nothing_even_over_a_new_connection(
    server: Any, model: Path, tmp_path: Path
) -> None:
    with ChaosProxy(server.port) as wire:
        with through(wire, server, tmp_path) as host:
            before = wire.passed["up"]
            assert host.put(model, "blobs/m.onnx") is True
            assert wire.passed["up"] - before > SIZE
            before = wire.passed["up"]
            assert host.put(model, "blobs/m.onnx") is False
            assert wire.passed["up"] - before < 4096
        before = wire.passed["up"]
        with through(wire, server, tmp_path) as host:
            at_start = wire.passed["up"]
            assert host.put(model, "blobs/m.onnx") is False
            assert wire.passed["up"] - at_start < 4096
        # The handshake of SSH with it: keys of post-quantum exchange are long.
        assert wire.passed["up"] - before < 16384


def test_cut_upload_goes_on_by_itself_and_sends_the_rest_alone(
    board: Any, model: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    with ChaosProxy(board.port, Faults(kind="reset", after_bytes=3 * 2**19, times=1)) as wire:
        with through(wire, board, tmp_path) as host:
            assert host.put(model, "blobs/m.onnx") is True
        assert wire.connections == 2
        # Of the 1.5 MiB before the cut only what was no whole block yet is sent again, and a login.
        assert wire.passed["up"] < SIZE + 2**20
        assert (work / "blobs" / "m.onnx").read_bytes() == model.read_bytes()
    assert [path.name for path in (work / "blobs").iterdir()] == ["m.onnx"]


def part_of(model: Path, work: Path, size: int) -> Path:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    part = work / "blobs" / f"m.onnx.{digest[:16]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(model.read_bytes()[:size])
    return part


def test_upload_goes_on_at_the_last_whole_block_that_another_program_left(
    server: Any, model: Path, work: Path, tmp_path: Path
) -> None:
    kept = 6 * BLOCK_BYTES
    part_of(model, work, kept + 1000)
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        before = wire.passed["up"]
        assert host.put(model, "blobs/m.onnx") is True
        assert SIZE - kept < wire.passed["up"] - before < SIZE - kept + 128 * 1024
    assert (work / "blobs" / "m.onnx").read_bytes() == model.read_bytes()


def test_part_with_one_wrong_byte_is_begun_anew(board: Any, model: Path, work: Path, tmp_path: Path) -> None:
    part = part_of(model, work, 4 * BLOCK_BYTES)
    damaged = bytearray(part.read_bytes())
    damaged[100] ^= 1
    part.write_bytes(damaged)
    with ChaosProxy(board.port) as wire, through(wire, board, tmp_path) as host:
        before = wire.passed["up"]
        assert host.put(model, "blobs/m.onnx") is True
        assert wire.passed["up"] - before > SIZE
    assert (work / "blobs" / "m.onnx").read_bytes() == model.read_bytes()


def test_part_longer_than_the_file_is_begun_anew(board: Any, model: Path, work: Path, tmp_path: Path) -> None:
    part = part_of(model, work, SIZE)
    part.write_bytes(model.read_bytes() + bytes(2 * BLOCK_BYTES))
    with ChaosProxy(board.port) as wire, through(wire, board, tmp_path) as host:
        assert host.put(model, "blobs/m.onnx") is True
    assert (work / "blobs" / "m.onnx").read_bytes() == model.read_bytes()


def test_damaged_file_in_the_cache_is_found_before_use_and_sent_again(
    board: Any, model: Path, work: Path, tmp_path: Path
) -> None:
    with ChaosProxy(board.port) as wire, through(wire, board, tmp_path) as host:
        host.put(model, "blobs/m.onnx")
        stored = work / "blobs" / "m.onnx"
        damaged = bytearray(stored.read_bytes())
        damaged[-1] ^= 1
        stored.write_bytes(damaged)
        assert host.put(model, "blobs/m.onnx") is True
        assert stored.read_bytes() == model.read_bytes()


def test_board_that_takes_nothing_any_more_is_given_up_long_before_the_deadline(
    board: Any, model: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "ATTEMPTS", 1)
    hole = Faults(kind="blackhole", after_bytes=2**19)
    with (
        ChaosProxy(board.port, hole) as wire,
        through(wire, board, tmp_path, stall_s=0.5) as host,
        pytest.raises(Stalled, match=r"sending blobs/m\.onnx.* has not moved for 500 ms"),
    ):
        host.put(model, "blobs/m.onnx", timeout_s=60)
    assert not (work / "blobs" / "m.onnx").exists()


def test_board_that_vanished_in_an_upload_is_looked_for_again(
    board: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []
    once = upload._bring_once

    def counted(board: Any, content: Any, place: str, end: float, packing: Any) -> bool:
        attempts.append(place)
        return once(board, content, place, end, packing)

    monkeypatch.setattr(upload, "_bring_once", counted)
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    with (
        ChaosProxy(board.port, Faults(kind="reset", after_bytes=2**19)) as wire,
        through(wire, board, tmp_path) as host,
    ):
        wire.stop_listening()
        with pytest.raises(ConnectError, match="nothing listens"):
            host.put(model, "blobs/m.onnx")
    assert attempts == ["blobs/m.onnx"] * upload.ATTEMPTS


def test_link_that_breaks_every_time_ends_the_attempts(
    board: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    with (
        ChaosProxy(board.port, Faults(kind="reset", after_bytes=2**19)) as wire,
        through(wire, board, tmp_path) as host,
    ):
        with pytest.raises(LinkLost, match="the link broke"):
            host.put(model, "blobs/m.onnx")
        assert wire.connections == upload.ATTEMPTS


class Scripted:
    """A carrier whose shell answers from a table, for what no disk of ours can be brought to do."""

    name = "scripted"

    def __init__(self, **answers: Completed) -> None:
        self.asked: list[str] = []
        self.answers = answers

    def shell(self, script: str, *words: str, timeout_s: float) -> Completed:
        verb = {LOOK: "look", SETTLE: "settle"}.get(script, "remove")
        self.asked.append(verb)
        return self.answers.get(verb, Completed((), 0, "", ""))

    def send(self, stream: Any, part: str, start: int, *, timeout_s: float) -> None:
        self.asked.append(f"send {start}")


DF = "bytes\nFilesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 1000 {used} {free} 50% /\ninodes\n{inodes}"


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (DF.format(used=999, free=1, inodes=""), r"1\.02 kB are free, .* MB are needed"),
        (DF.format(used=1, free=99999, inodes="Filesystem Inodes IUsed IFree IUse% Mounted\n/dev/root 9 9 0 100% /\n"),
         "0 inodes are free"),
    ],
)  # fmt: skip
def test_full_disk_is_told_before_anything_is_sent_and_never_tried_again(look: str, said: str, model: Path) -> None:
    board = Scripted(look=Completed((), 0, look, ""))
    with pytest.raises(DiskFull, match=said):
        upload.bring_file(board, model, "blobs/m", timeout_s=10)
    assert board.asked == ["look", "remove"]


def test_full_disk_that_has_no_room_for_a_folder_is_told_as_one(model: Path) -> None:
    said = "mkdir: can't create directory 'blobs': No space left on device"
    with pytest.raises(DiskFull, match="no room for blobs/m: mkdir"):
        upload.bring_file(Scripted(look=Completed((), 1, "", said)), model, "blobs/m", timeout_s=10)


def test_unknown_room_is_no_reason_to_refuse(model: Path) -> None:
    btrfs = DF.format(used=1, free=99999, inodes="Filesystem Inodes IUsed IFree IUse% Mounted\n/dev/root 0 0 0 - /\n")
    for look in ("", "bytes\ninodes\n", "bytes\ndf: not found\ninodes\n", btrfs):
        board = Scripted(look=Completed((), 0, look, ""))
        assert upload.bring_file(board, model, "blobs/m", timeout_s=10) is True
        assert board.asked == ["look", "send 0", "settle"]


def test_other_content_on_the_board_is_told_removed_and_not_tried_again(model: Path) -> None:
    board = Scripted(settle=Completed((), DIFFERS, f"{'0' * 64}  -\n", ""))
    with pytest.raises(HostError, match=r"arrived with another content \(SHA-256 000000000000…"):
        upload.bring_file(board, model, "blobs/m", timeout_s=10)
    assert board.asked == ["look", "send 0", "settle", "remove"]


def test_board_without_any_hasher_is_told(model: Path) -> None:
    with pytest.raises(HostError, match="none of sha256sum, shasum and openssl"):
        upload.bring_file(Scripted(look=Completed((), NO_HASHER, "", "")), model, "blobs/m", timeout_s=10)


def test_folder_in_its_place_is_told_and_stays(server: Any, model: Path, work: Path, tmp_path: Path) -> None:
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        host.write("taken/file", b"x")
        with pytest.raises(HostError, match="taken is a folder there"):
            host.put(model, "taken")
    assert (work / "taken" / "file").read_bytes() == b"x"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where the workspace is to be."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "work"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("this machine does not let mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_that_is_too_small_is_told_by_its_name_and_left_clean(
    server: Any, model: Path, small_disk: Path, tmp_path: Path
) -> None:
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        before = wire.passed["up"]
        with pytest.raises(DiskFull, match=r"no room for blobs/m\.onnx") as caught:
            host.put(model, "blobs/m.onnx")
        assert caught.value.exit_code == 4
        assert wire.passed["up"] - before < 8192
    assert list((small_disk / "blobs").iterdir()) == []


def test_disk_that_fills_up_on_the_way_is_told_too(
    server: Any, model: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_require_room", only_after_a_failure(upload._require_room))
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        with pytest.raises(DiskFull):
            host.put(model, "blobs/m.onnx")
        assert wire.connections == 1
    assert list((small_disk / "blobs").iterdir()) == []
    assert shutil.disk_usage(small_disk).free > 3 * 2**19


def only_after_a_failure(check: Any) -> Any:
    """As a disk that had room when it was asked first."""
    asked = []

    def run(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        if len(asked) > 1:
            check(*args, **kwargs)

    return run
