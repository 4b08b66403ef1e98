from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import HostTimeout
from edgekd.hosts.open import open_host

pytestmark = pytest.mark.usefixtures("board")


@pytest.fixture
def known(board: Any, tmp_path: Path) -> Path:
    path: Path = board.known_hosts(tmp_path / "known_hosts")
    return path


def test_slow_file_transfer_is_cut_at_its_deadline(board: Any, known: Path, tmp_path: Path) -> None:
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        local = tmp_path / "large"
        local.write_bytes(os.urandom(2**28))  # which does not shrink on the way
        with pytest.raises(HostTimeout, match="did not end within"):
            host.put(local, "big", timeout_s=0.5)
        assert not (tmp_path / "work" / "big").exists()
        host.write("after", b"still works")
        assert host.read("after", max_bytes=20) == b"still works"


def test_workspace_is_made_for_its_owner_alone(board: Any, known: Path, tmp_path: Path) -> None:
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "deep" / "work")):
        assert stat.S_IMODE((tmp_path / "deep" / "work").stat().st_mode) == 0o700


def test_closing_ends_every_thread(board: Any, known: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    with open_host(board.url, key=board.key, known_hosts=known, workspace=str(tmp_path / "work")) as host:
        host.write("a", b"a")
    assert threading.active_count() <= before
