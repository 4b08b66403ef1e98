"""Files that travel compressed: what arrives is the file or nothing, whatever breaks, fills up or is missing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_upload import DF, Scripted, small_disk, through

from edgekd.errors import DiskFull, HostTimeout, LinkLost, StorageError
from edgekd.hosts import compression, upload
from edgekd.hosts.base import Completed
from edgekd.hosts.board_scripts import BLOCK_BYTES
from edgekd.hosts.compression import EXPAND, LEAST_BYTES, Packing
from edgekd.hosts.open import open_host
from tests.lab.chaos import NONE, ChaosProxy, Faults

__all__ = ["small_disk"]

PLACE = "blobs/m.onnx"
SIZE = 3 * 2**20 + 12345


def repeating(size: int) -> bytes:
    """As the weights of untrained students: a block of random bytes, over and over."""
    return (random.Random(1).randbytes(4084) * (size // 4084 + 1))[:size]


def mixed(size: int) -> bytes:
    """A third random, so that the compressed form has several blocks of an upload, and the pieces are all alike."""
    draw = random.Random(2)
    return b"".join(draw.randbytes(3000) + bytes(6000) for _ in range(size // 9000 + 1))[:size]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(repeating(SIZE))
    return path


@pytest.fixture(params=["sftp", "shell"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("board" if request.param == "sftp" else "bare_board")


class Folder:
    """A carrier whose board is the folder `root`; `after` is called with each script that ran."""

    name = "folder"

    def __init__(self, root: Path, python: str = sys.executable) -> None:
        self.root, self.python = root, python
        self.sent = 0
        self.asked: list[str] = []
        self.after: Callable[[str], None] = lambda script: None
        root.mkdir(exist_ok=True)

    def shell(self, script: str, *words: str, timeout_s: float) -> Completed:
        argv = ["sh", "-c", script, "sh", *words]
        self.asked.append(script)
        done = subprocess.run(argv, cwd=self.root, capture_output=True, timeout=timeout_s)
        self.after(script)
        return Completed(tuple(argv), done.returncode, done.stdout.decode(), done.stderr.decode())

    def send(self, stream: Any, part: str, start: int, *, timeout_s: float) -> None:
        with (self.root / part).open("r+b" if start else "wb") as target:
            target.seek(start)
            target.truncate()
            self.sent += target.write(stream.read())

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.root / "blobs").iterdir())


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# Given are -I -S -c, the program, and then place, packed, part, size and digest.
HALF = 'head -c 1000000 /dev/urandom > "$7"'


def bring(board: Any, model: Path) -> bool:
    return upload.bring_file(board, model, PLACE, timeout_s=60)


@contextlib.contextmanager
def packing_of(path: Path) -> Iterator[Packing]:
    with path.open("rb") as stream, Packing(stream, path.stat().st_size) as packing:
        yield packing


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (repeating(SIZE), True),
        (mixed(SIZE), True),
        (random.Random(0).randbytes(SIZE), False),
        (repeating(LEAST_BYTES - 1), False),
        (b"", False),
        (random.Random(0).randbytes(SIZE) + repeating(SIZE // 2), False),
        (random.Random(0).randbytes(SIZE // 2) + repeating(SIZE), True),
    ],
)
def test_pieces_from_all_over_a_file_tell_whether_it_shrinks(data: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with packing_of(tmp_path / "file") as packing:
        assert packing.promises() is expected


def test_compressed_form_is_made_once_and_holds_the_file(model: Path) -> None:
    with packing_of(model) as packing:
        first = packing.made()
        assert first is not None
        assert zlib.decompress(first.read()) == model.read_bytes()
        again = packing.made()
        assert again is first
        assert again.tell() == 0
    assert first.closed


def test_machine_without_room_for_the_compressed_form_says_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compression.tempfile, "TemporaryFile", full)
    with packing_of(model) as packing, pytest.raises(StorageError, match="the disk is full"):
        packing.made()


def test_file_whose_pieces_promised_too_much_is_sent_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_PIECES", 2)  # the beginning and the end
    ends = repeating(2**17)
    (tmp_path / "file").write_bytes(ends + random.Random(0).randbytes(SIZE) + ends)
    board = Folder(tmp_path / "work")
    assert bring(board, tmp_path / "file") is True
    assert board.sent == SIZE + 2**18
    assert EXPAND not in board.asked
    assert board.files() == ["m.onnx"]


def test_second_upload_sends_next_to_nothing_and_the_first_one_little(server: Any, model: Path, tmp_path: Path) -> None:
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        before = wire.passed["up"]
        assert host.put(model, PLACE) is True
        assert wire.passed["up"] - before < 0.05 * SIZE
        before = wire.passed["up"]
        assert host.put(model, PLACE) is False
        assert wire.passed["up"] - before < 4096
    stored = tmp_path / "work" / PLACE
    assert stored.read_bytes() == model.read_bytes()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in stored.parent.iterdir()] == ["m.onnx"]


def test_phone_is_pushed_the_compressed_form(adb: Path, model: Path, tmp_path: Path) -> None:
    with open_host("adb:PHONE1", workspace=str(tmp_path / "work")) as phone:
        assert phone.put(model, PLACE) is True
        assert phone.put(model, PLACE) is False
    calls = [json.loads(line) for line in (adb / "calls").read_text().splitlines()]
    pushed = [Path(call[-1]).name for call in calls if call[2] == "push"]
    assert pushed == [f"m.onnx.{hashlib.sha256(model.read_bytes()).hexdigest()[:16]}.z.part"]
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()


def test_damaged_file_on_the_board_is_found_and_made_anew(model: Path, tmp_path: Path) -> None:
    board = Folder(tmp_path / "work")
    bring(board, model)
    stored = tmp_path / "work" / PLACE
    stored.write_bytes(b"!" + model.read_bytes()[1:])
    assert bring(board, model) is True
    assert stored.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_cut_upload_goes_on_by_itself_and_sends_the_rest_alone(
    kind: Any, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    model = tmp_path / "model.onnx"
    model.write_bytes(mixed(3 * SIZE))
    packed = len(zlib.compress(model.read_bytes(), 1))
    with ChaosProxy(board.port, Faults(kind=kind, after_bytes=packed // 2, times=1)) as wire:
        with through(wire, board, tmp_path) as host:
            assert host.put(model, PLACE) is True
        assert wire.connections == 2
        # Of the half before the cut only what was no whole block yet is sent again, and a login.
        assert packed < wire.passed["up"] < packed + 2**20
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert [path.name for path in (tmp_path / "work" / "blobs").iterdir()] == ["m.onnx"]


def test_upload_goes_on_where_another_program_left_its_compressed_form(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(mixed(SIZE))
    board = Folder(tmp_path / "work")
    digest, packed = hashlib.sha256(model.read_bytes()).hexdigest()[:16], zlib.compress(model.read_bytes(), 1)
    (tmp_path / "work" / "blobs").mkdir()
    (tmp_path / "work" / f"{PLACE}.{digest}.z.part").write_bytes(packed[: 2 * BLOCK_BYTES + 1000])
    assert bring(board, model) is True
    assert board.sent == len(packed) - 2 * BLOCK_BYTES
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert board.files() == ["m.onnx"]


PUTS = """
import sys
from pathlib import Path
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.ssh import SshHost
from edgekd.hosts.target import Hop, Login
port, user, key, known, work, python, model, place = sys.argv[1:]
hop = Hop(SshAddress("127.0.0.1", int(port), user), Login(Path(key)), Path(known))
with SshHost([hop], workspace=work, python=python) as host:
    host.put(Path(model), place)
"""


@pytest.mark.parametrize(("kind", "least"), [("z", 2 * BLOCK_BYTES), ("x", 1)], ids=["sending", "expanding"])
def test_client_that_is_killed_leaves_nothing_that_counts_and_the_next_one_ends_it(
    kind: str, least: int, board: Any, tmp_path: Path
) -> None:
    model, blobs = tmp_path / "model.onnx", tmp_path / "work" / "blobs"
    model.write_bytes(mixed(3 * SIZE))
    slow = program(tmp_path / "python", f'{HALF}; sleep 2; exec "{sys.executable}" "$@"')
    with ChaosProxy(board.port, Faults(bytes_per_s=1e6)) as wire, through(wire, board, tmp_path) as host:
        argv = [wire.port, board.user, board.key, tmp_path / "known_hosts", tmp_path / "work", slow, model, PLACE]
        client = subprocess.Popen([sys.executable, "-c", PUTS, *map(str, argv)])
        part = blobs / f"m.onnx.{hashlib.sha256(model.read_bytes()).hexdigest()[:16]}.{kind}.part"
        end = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size >= least):
            assert client.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        client.kill()
        client.wait()
        assert not (blobs / "m.onnx").exists()
        wire.faults = NONE
        host.put(model, PLACE)
        assert (blobs / "m.onnx").read_bytes() == model.read_bytes()
        assert host.put(model, PLACE) is False


def test_part_of_another_compressor_is_begun_anew(model: Path, tmp_path: Path) -> None:
    board = Folder(tmp_path / "work")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    part = tmp_path / "work" / f"{PLACE}.{digest}.z.part"
    part.parent.mkdir()
    part.write_bytes(zlib.compress(model.read_bytes(), 0))
    assert bring(board, model) is True
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert board.files() == ["m.onnx"]


def test_expansion_that_hangs_leaves_nothing_that_counts_and_is_begun_anew(
    server: Any, model: Path, tmp_path: Path
) -> None:
    hanging = program(tmp_path / "python", f"{HALF}; exec sleep 60")
    with ChaosProxy(server.port) as wire:
        with through(wire, server, tmp_path, python=hanging) as host, pytest.raises(HostTimeout):
            host.put(model, PLACE, timeout_s=3)
        left = {path.name.split(".", 3)[-1] for path in (tmp_path / "work" / "blobs").iterdir()}
        assert left == {"z.part", "x.part"}
        with through(wire, server, tmp_path) as host:
            before = wire.passed["up"]
            assert host.put(model, PLACE) is True
            assert wire.passed["up"] - before < 0.05 * SIZE
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert [path.name for path in (tmp_path / "work" / "blobs").iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no such program"),
        pytest.param("echo ModuleNotFoundError >&2; exit 1", id="no zlib"),
        pytest.param(f"{HALF}; kill -9 $$", id="killed"),
    ],
)
def test_board_that_cannot_expand_gets_the_file_as_it_is(
    text: str | None, server: Any, model: Path, tmp_path: Path
) -> None:
    python = "edgekd-no-python" if text is None else program(tmp_path / "python", text)
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path, python=python) as host:
        before = wire.passed["up"]
        assert host.put(model, PLACE) is True
        assert wire.passed["up"] - before > SIZE
        assert host.put(model, PLACE) is False
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert [path.name for path in (tmp_path / "work" / "blobs").iterdir()] == ["m.onnx"]


def test_answer_that_is_lost_after_the_file_took_its_place_costs_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_PAUSE_S", 0.01)
    board = Folder(tmp_path / "work")

    def lose(script: str) -> None:
        if script == EXPAND:
            raise LinkLost("gone")

    board.after = lose
    assert bring(board, model) is False
    assert board.sent < 0.05 * SIZE
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()
    assert board.files() == ["m.onnx"]


def test_two_who_send_the_same_file_at_once_both_end_well(model: Path, tmp_path: Path) -> None:
    results: list[bool] = []
    boards = [Folder(tmp_path / "work") for _ in range(4)]
    threads = [threading.Thread(target=lambda board=board: results.append(bring(board, model))) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == len(boards)
    assert (tmp_path / "work" / PLACE).read_bytes() == model.read_bytes()


def test_disk_that_fills_up_while_expanding_is_told_as_one_and_left_clean(
    server: Any, model: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_lacking", lambda needed, found: "")  # as when somebody else fills it meanwhile
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        with pytest.raises(DiskFull, match=r"no room for blobs/m\.onnx: .*No space left"):
            host.put(model, PLACE)
        assert wire.passed["up"] < SIZE / 4
    assert list((small_disk / "blobs").iterdir()) == []


def test_full_disk_is_told_before_anything_is_sent(server: Any, model: Path, small_disk: Path, tmp_path: Path) -> None:
    with ChaosProxy(server.port) as wire, through(wire, server, tmp_path) as host:
        before = wire.passed["up"]
        with pytest.raises(DiskFull, match=r"2\.10 MB are free, 4\.21 MB are needed"):
            host.put(model, PLACE)
        assert wire.passed["up"] - before < 8192
    assert list((small_disk / "blobs").iterdir()) == []


def test_disk_with_room_for_the_file_alone_gets_it_as_it_is(model: Path) -> None:
    free = (SIZE + upload.SPARE_BYTES) // 1024 + 1
    board = Scripted(look=Completed((), 0, DF.format(used=1, free=free, inodes=""), ""))
    assert upload.bring_file(board, model, PLACE, timeout_s=10) is True
    assert board.asked == ["look", "remove", "remove", "look", "send 0", "settle"]
