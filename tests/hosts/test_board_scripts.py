"""What we ask a board's shell, run on shells and tools of other kinds than this machine's usual ones."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekd.hosts import adb, board_scripts, remote_command
from edgekd.hosts import open as opening
from edgekd.hosts.board_scripts import APPEND, BLOCK_BYTES, LARGE_BYTES, LOOK, NO_HASHER, READ, SETTLE, found_from_text

SCRIPTS = {
    name: value
    for name, value in vars(board_scripts).items()
    if name.isupper() and isinstance(value, str) and not name.startswith("_")
} | {"RUN": adb._RUN}
TOOLS = ("sh", "cat", "dd", "df", "head", "kill", "mkdir", "mkfifo", "mv", "rm", "sleep", "sha256sum", "tail", "wc")
BUSYBOX = shutil.which("busybox")


def test_no_script_names_the_place_of_a_program_or_of_scratch_files() -> None:
    assert set(SCRIPTS) == {"LOOK", "SETTLE", "APPEND", "READ", "REMOVE", "MAKE_FOLDER", "STOP", "RUN"}
    for name, script in SCRIPTS.items():
        places = set(re.findall(r"(?<![\w$}%\"*])/[a-z]+[/\w]*", script))
        assert {place for place in places if not place.startswith(("/dev/null", "/proc"))} == set(), name


@pytest.fixture(params=["these", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A shell that finds few tools, all in one folder that no Linux has."""
    folder = tmp_path / "data" / "usr" / "bin"
    folder.mkdir(parents=True)
    source = {tool: shutil.which(tool) for tool in TOOLS}
    if request.param == "busybox":
        if BUSYBOX is None:
            pytest.skip("no busybox on this machine: install it to run the tests of small boards")
        source = dict.fromkeys(TOOLS, BUSYBOX)
    for tool, place in source.items():
        (folder / tool).symlink_to(str(place))
    return ["env", "-i", f"PATH={folder}", f"HOME={tmp_path}", str(folder / "sh")]


def run(
    shell: list[str], work: Path, script: str, *words: str, feed: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*shell, "-c", script, "sh", *words], cwd=work, input=feed, capture_output=True, timeout=30)


def test_file_goes_its_whole_way_by_these_scripts_alone(shell: list[str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    data = os.urandom(3 * BLOCK_BYTES + 77)
    digest = hashlib.sha256(data).hexdigest()
    names = ("blobs/deep/m", "blobs/deep/m.part")
    first = found_from_text(run(shell, work, LOOK, *names, str(len(data))).stdout.decode())
    assert (first.there, first.blocks, first.begun) == (None, 0, None)
    assert first.free_bytes is not None
    assert abs(first.free_bytes - shutil.disk_usage(work).free) < 2**30
    assert run(shell, work, APPEND, names[1], "0", feed=data[: BLOCK_BYTES + 5]).returncode == 0
    half = found_from_text(run(shell, work, LOOK, *names, str(len(data))).stdout.decode())
    assert (half.blocks, half.begun) == (1, hashlib.sha256(data[:BLOCK_BYTES]).hexdigest())
    assert run(shell, work, APPEND, names[1], "1", feed=data[BLOCK_BYTES:]).returncode == 0
    settled = run(shell, work, SETTLE, *names, digest)
    assert settled.returncode == 0, settled.stderr
    assert (work / names[0]).read_bytes() == data
    assert not (work / names[1]).exists()
    again = found_from_text(run(shell, work, LOOK, *names, str(len(data))).stdout.decode())
    assert again.there == digest
    assert run(shell, work, READ, names[0], "1").stdout == data[: board_scripts.READ_BLOCK_BYTES]
    assert run(shell, work, READ, "blobs", "1").returncode == board_scripts.IS_NO_FILE
    assert run(shell, work, READ, "absent", "1").returncode == board_scripts.IS_MISSING
    assert run(shell, work, SETTLE, *names, "0" * 64).returncode == board_scripts.DIFFERS


def test_who_was_quicker_with_the_same_content_is_no_error(shell: list[str], tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"same")
    digest = hashlib.sha256(b"same").hexdigest()
    assert run(shell, tmp_path, SETTLE, "m", "m.part", digest).returncode == 0
    assert run(shell, tmp_path, SETTLE, "absent", "m.part", digest).returncode == board_scripts.IS_MISSING


@pytest.mark.parametrize("shell", ["these"], indirect=True)  # busybox has its own, whatever stands on PATH
def test_board_without_a_hasher_says_so(shell: list[str], tmp_path: Path) -> None:
    (Path(shell[-1]).parent / "sha256sum").unlink()
    (tmp_path / "m").write_bytes(b"x")
    assert run(shell, tmp_path, LOOK, "m", "m.part", "1").returncode == NO_HASHER


@pytest.mark.parametrize("text", ["", "there x", "part 1", "bytes\n\x00\xff", "part 999999999999999999 " + "0" * 64])
def test_answer_out_of_the_form_counts_as_unknown(text: str) -> None:
    found = found_from_text(text)
    assert (found.there, found.blocks, found.begun, found.free_bytes, found.free_inodes) == (None, 0, None, None, None)


def test_phone_with_termux_is_a_board_like_any_other(start_board: Any, tmp_path: Path) -> None:
    """Its sshd listens elsewhere; programs stand in a prefix of its own, python has no 3, and there is no /usr/bin."""
    prefix = tmp_path / "data" / "data" / "com.termux" / "files" / "usr" / "bin"
    prefix.mkdir(parents=True)
    for tool in TOOLS:
        (prefix / tool).symlink_to(str(BUSYBOX or shutil.which(tool)))
    (prefix / "python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / ".bashrc").write_text("echo Welcome to Termux; echo You have mail >&2\n")
    phone = start_board(f"SetEnv PATH={prefix} HOME={tmp_path}")
    known = phone.known_hosts(tmp_path / "known")
    local = tmp_path / "model"
    local.write_bytes(os.urandom(300_000))
    with opening.open_host(
        phone.url, key=phone.key, known_hosts=known, python="python", workspace=str(tmp_path / "work")
    ) as host:
        assert host.put(local, "blobs/m") is True
        assert host.put(local, "blobs/m") is False
        shown = host.run(["sh", "-c", "echo $PATH"], timeout_s=20)
        assert (shown.stdout.strip(), shown.stderr) == (str(prefix), "")
        assert host.run([host.python, "-c", "print(6 * 7)"], timeout_s=20).stdout == "42\n"
        assert host.run(["python3", "-c", ""], timeout_s=20).exit_status == 127
        with pytest.raises(remote_command.HostTimeout):
            host.run(["sh", "-c", "sleep 60"], timeout_s=0.5)
        host.remove("blobs")
        assert not (tmp_path / "work" / "blobs").exists()


HASHED_BY_OPENSSL = f"""#!/bin/sh
[ "$1" = version ] || echo "$*" >> "$HOME/asked"
exec {shutil.which("openssl")} "$@"
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_large_files_are_hashed_by_openssl_and_small_ones_are_not(shell: list[str], tmp_path: Path) -> None:
    program = Path(shell[-1]).parent / "openssl"
    program.write_text(HASHED_BY_OPENSSL)
    program.chmod(0o755)
    for size in (LARGE_BYTES, LARGE_BYTES + 1):
        data = os.urandom(size)
        (tmp_path / "m.part").write_bytes(data)
        assert run(shell, tmp_path, SETTLE, "m", "m.part", hashlib.sha256(data).hexdigest()).returncode == 0
        assert (tmp_path / "asked").exists() == (size > LARGE_BYTES)
    found = found_from_text(run(shell, tmp_path, LOOK, "m", "m.part", str(size)).stdout.decode())
    assert found.there == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "asked").read_text() == "dgst -sha256 -r\n" * 2


def test_openssl_that_does_not_run_is_passed_over(shell: list[str], tmp_path: Path) -> None:
    program = Path(shell[-1]).parent / "openssl"
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n")
    program.chmod(0o755)
    data = os.urandom(LARGE_BYTES + 1)
    (tmp_path / "m.part").write_bytes(data)
    assert run(shell, tmp_path, SETTLE, "m", "m.part", hashlib.sha256(data).hexdigest()).returncode == 0
    assert (tmp_path / "m").read_bytes() == data
