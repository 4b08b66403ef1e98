"""The program by which a board expands what was sent compressed: the file takes its place whole, or nothing does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from test_compression import mixed, repeating

from edgekd.hosts.compression import EXPAND, expanding


def expanded(folder: Path, packed: bytes, size: int, digest: str) -> subprocess.CompletedProcess[str]:
    """What the board's own Python makes of `packed`."""
    (folder / "packed").write_bytes(packed)
    words = expanding(sys.executable, "place", "packed", "part", size=size, digest=digest)
    return subprocess.run(["sh", "-c", EXPAND, "sh", *words], cwd=folder, capture_output=True, text=True)


def test_what_unfolds_to_more_than_was_said_is_cut_off_there_and_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    done = expanded(tmp_path, bomb, 2**20, hashlib.sha256(bytes(2**20 + 1)).hexdigest())
    assert done.returncode == 1
    assert "another file" in done.stderr
    assert (tmp_path / "part").stat().st_size == 2**20
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty", "digest"])
def test_nothing_takes_the_place_but_the_whole_file(damage: str, tmp_path: Path) -> None:
    data = mixed(2**20)
    packed, digest = bytearray(zlib.compress(data, 1)), hashlib.sha256(data).hexdigest()
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "bit":
        packed[len(packed) // 2] ^= 1
    elif damage == "text":
        packed[:] = b"no zlib at all"
    elif damage == "empty":
        packed.clear()
    else:
        digest = hashlib.sha256(b"").hexdigest()
    (tmp_path / "place").write_bytes(b"before")
    done = expanded(tmp_path, bytes(packed), len(data), digest)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (tmp_path / "place").read_bytes() == b"before"


def test_longer_rest_of_another_attempt_is_cut_off(tmp_path: Path) -> None:
    data = repeating(100_000)
    (tmp_path / "part").write_bytes(os.urandom(200_000))
    assert expanded(tmp_path, zlib.compress(data), len(data), hashlib.sha256(data).hexdigest()).returncode == 0
    assert (tmp_path / "place").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place"]
