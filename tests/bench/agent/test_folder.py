"""Files of a run: whole or as before, and with space kept back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgekd.bench.agent import folder
from edgekd.bench.journal import new_run


@pytest.mark.parametrize(
    "name", ["", "..", "a" * 25, "a" * 27, "A" * 26, "a" * 25 + "/", "a" * 26 + "\n", "../" + "a" * 23]
)
def test_a_name_that_no_run_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names no run"):
        folder.folder_of(name)


def test_every_new_run_has_a_folder_of_its_own() -> None:
    runs = {new_run() for _ in range(100)}
    assert {folder.folder_of(run) for run in runs} == {f"runs/{run}" for run in runs}
    assert len(runs) == 100


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    folder.replace_file(str(path), b"first")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.replace_file(str(path), b"second")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("state.json", b"first")]


def test_a_state_that_could_not_be_written_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = folder.State(str(tmp_path), run="a")
    state.write(state="PREPARED")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "bad disk")))
        with pytest.raises(OSError, match="bad disk"):
            state.write(state="RUNNING")
    assert folder.read_table(state.path) == state.table == {"format": 1, "run": "a", "beat": 1, "state": "PREPARED"}


def test_space_is_reserved_and_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.reserve(str(tmp_path))
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= folder.RESERVE_BYTES
    folder.give_up_reserve(str(tmp_path))
    folder.give_up_reserve(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delattr(os, "posix_fallocate")
    folder.reserve(str(tmp_path))
    assert (tmp_path / "reserve").read_bytes() == bytes(folder.RESERVE_BYTES)


def test_a_table_is_read_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "t"
    assert folder.read_table(str(path)) is None
    path.write_text('{"a": 1}')
    assert folder.read_table(str(path)) == {"a": 1}
    with pytest.raises(ValueError, match="longer than 7 bytes"):
        folder.read_table(str(path), limit=7)
    path.write_text("[]")
    with pytest.raises(ValueError, match="no table"):
        folder.read_table(str(path))
