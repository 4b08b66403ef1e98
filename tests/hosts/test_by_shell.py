"""What hosts share that are reached by a shell, on one whose shell is a process of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from edgekd.errors import HostError, InputError
from edgekd.hosts.by_shell import ByShell, Ended


class OwnShell(ByShell):
    """The least that a host by its shell has to know of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("own", "python3", str(folder))
        self._make_workspace(20.0)

    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        del timeout_s
        with (Path(self._folder) / part).open("r+b" if start else "wb") as target:
            target.seek(start)
            shutil.copyfileobj(stream, target)

    def _ended(self, argv: tuple[str, ...], *, folder: str, timeout_s: float, max_output_bytes: int) -> Ended:
        done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=timeout_s, check=False)
        status = done.returncode if done.returncode >= 0 else None
        return Ended(status, done.stdout[-max_output_bytes:], done.stderr[-max_output_bytes:])


@pytest.fixture
def host(tmp_path: Path) -> OwnShell:
    return OwnShell(tmp_path / "deep" / "work")


def test_files_come_back_as_they_were_put_up_to_the_bound(host: OwnShell) -> None:
    data = bytes(range(256)) * 300
    host.write("folder/file", data)
    assert host.read("folder/file", max_bytes=len(data)) == data
    with pytest.raises(HostError, match="own: folder/file is longer than the 76799 bytes expected"):
        host.read("folder/file", max_bytes=len(data) - 1)
    host.remove("folder")
    with pytest.raises(HostError, match="own: folder/file: there is no such file"):
        host.read("folder/file", max_bytes=1)


def test_what_is_no_file_is_not_read_and_no_path_leads_out(host: OwnShell) -> None:
    host.write("folder/file", b"x")
    with pytest.raises(HostError, match="own: folder is no regular file"):
        host.read("folder", max_bytes=1)
    for ask in (lambda: host.read("../x", max_bytes=1), lambda: host.write("/x", b""), lambda: host.remove("..")):
        with pytest.raises(InputError):
            ask()


def test_a_signal_is_no_status_and_odd_bytes_stay_visible(host: OwnShell) -> None:
    done = host.run(["sh", "-c", "printf '\\377'; kill -9 $$"], timeout_s=20)
    assert (done.exit_status, done.stdout) == (None, "\\xff")
    assert host.shell('echo "$1"; exit 3', "a b", timeout_s=20).exit_status == 3
    assert host.shell('echo "$1"', "a b", timeout_s=20).stdout == "a b\n"


def test_a_workspace_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"own: the workspace .*/file/work there cannot be made.*hosts.yaml: workspace"):
        OwnShell(tmp_path / "file" / "work")
