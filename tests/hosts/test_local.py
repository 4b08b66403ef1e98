from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgekd.errors import EdgekdError, HostError, InputError
from edgekd.hosts.local import LocalHost


def test_link_out_of_the_workspace_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    host = LocalHost(tmp_path / "work")
    (tmp_path / "work" / "way").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the workspace"):
        host.write("way/in", b"x")


def test_process_left_in_the_background_does_not_hold_up_the_command(tmp_path: Path) -> None:
    start = time.monotonic()
    done = LocalHost(tmp_path).run(["sh", "-c", "echo done; sleep 5 &"], timeout_s=20)
    assert done.stdout == "done\n"
    assert time.monotonic() - start < 3


def test_vanished_workspace_is_a_host_error(tmp_path: Path) -> None:
    host = LocalHost(tmp_path / "work")
    (tmp_path / "work").rmdir()
    with pytest.raises(HostError, match="vanished"):
        host.run(["true"], timeout_s=5)


def test_failed_put_leaves_no_part_behind(tmp_path: Path) -> None:
    host = LocalHost(tmp_path / "work")
    host.write("taken/file", b"x")
    local = tmp_path / "a"
    local.write_bytes(b"a")
    with pytest.raises(EdgekdError, match="taken"):
        host.put(local, "taken")
    assert sorted(path.name for path in (tmp_path / "work").rglob("*")) == ["file", "taken"]
