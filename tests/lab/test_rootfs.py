"""The parts of the build that need no network; the userland itself is tried in test_boards.py."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from edgekd.errors import ToolError
from tests.lab import rootfs


def test_key_changes_with_whatever_the_userland_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {rootfs.content_key()}
    assert keys == {rootfs.content_key()}
    for name, value in {
        "PACKAGES": (*rootfs.PACKAGES, "vim"),
        "wheels": lambda: ("onnxruntime==1.0", "numpy==2.0"),
        "SUITE": "trixie",
    }.items():
        with monkeypatch.context() as changed:
            changed.setattr(rootfs, name, value)
            keys.add(rootfs.content_key())
    assert len(keys) == 4


def test_two_calls_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(place: Path, folder: Path) -> None:
        built.append(place)
        place.mkdir()

    monkeypatch.setattr(rootfs, "_build", build)
    threads = [threading.Thread(target=rootfs.tree, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [rootfs.tree(tmp_path)]


def test_only_what_nobody_uses_any_more_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "_build", lambda place, folder: place.mkdir())
    others = {name: tmp_path / f"arm64-{name}" for name in ("recent", "forgotten", "part-killed")}
    for place in others.values():
        (place / "etc").mkdir(parents=True)
    os.utime(others["forgotten"], (0, 0))
    used = rootfs.tree(tmp_path)
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {used, others["recent"]}
    os.utime(used, (0, 0))
    rootfs.tree(tmp_path)
    assert used.stat().st_mtime > 0


def test_build_that_fails_leaves_no_userland_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(root: Path, log: Path) -> None:
        root.mkdir()
        rootfs._run(sys.executable, "-c", "print('E: no such mirror'); raise SystemExit(25)", log=log)

    monkeypatch.setattr(rootfs, "_unpack", unpack)
    with pytest.raises(ToolError, match=r"status 25; the last it said: E: no such mirror. All of it: .*build\.log"):
        rootfs.tree(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build.log", "lock"]


def test_accounts_and_links_are_there_without_the_packages_scripts(tmp_path: Path) -> None:
    base = tmp_path / "usr/share/base-passwd"
    base.mkdir(parents=True)
    (base / "passwd.master").write_text("root:*:0:0:root:/root:/bin/bash\n")
    (base / "group.master").write_text("root:*:0:\n")
    for folder in ("etc", "usr/bin"):
        (tmp_path / folder).mkdir(parents=True)
    rootfs._settle(tmp_path)
    assert [line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()] == ["root", "sshd"]
    assert (tmp_path / "etc/shadow").read_text().startswith("root:*:")
    assert (tmp_path / "usr/bin/awk").readlink() == Path("mawk")
    assert (tmp_path / "tmp").stat().st_mode & 0o7777 == 0o1777
