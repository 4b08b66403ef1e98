"""The first process inside an emulated board: puts its world together, starts its sshd, reaps what dies.

    unshare --mount --pid --fork … python inside.py BOARD.json

It runs in name spaces of its own, so all it mounts and starts vanishes with it. The userland is the lower, read-only
layer of an overlay; what the board writes lies above it and is thrown away at the next start.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def main(argv: list[str]) -> int:
    """Be the board that BOARD.json describes until its sshd ends."""
    board = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    root = Path(board["folder"]) / "root"
    _mount_tree(root, board)
    _mount_devices(root)
    for scratch, mebibytes in board["scratch"].items():
        _mount("-t", "tmpfs", "-o", f"mode=1777,size={mebibytes}m", "tmpfs", root / scratch.lstrip("/"))
    _mount_facts(root, board)
    _make_home(root, board)
    socket.sethostname(board["hostname"])
    server = _start_sshd(root, board)
    while True:
        pid, status = os.wait()
        if pid == server.pid:
            return os.waitstatus_to_exitcode(status)


def _mount_tree(root: Path, board: dict[str, Any]) -> None:
    own = Path(board["folder"])
    layers = f"lowerdir={board['skeleton']},upperdir={own / 'upper'},workdir={own / 'work'}"
    _mount("-t", "overlay", "overlay", "-o", layers, root)
    for inside, outside in board["binds"].items():
        place = root / inside.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        _mount("--bind", "-o", "ro", outside, place)


def _mount_devices(root: Path) -> None:
    _mount("-t", "tmpfs", "-o", "mode=755,size=1m", "tmpfs", root / "dev")
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", root / "dev" / name)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=620"),
        ("shm", "tmpfs", "mode=1777,size=256m"),
    ):
        (root / "dev" / name).mkdir()
        _mount("-t", kind, "-o", options, kind, root / "dev" / name)
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")


def _mount_facts(root: Path, board: dict[str, Any]) -> None:
    """/proc and /sys as on the real board. cpuinfo has to be an ARM one: onnxruntime reads it and crashes over another."""
    dress = Path(board["dress"])
    _mount("-t", "proc", "proc", root / "proc")
    for name in ("cpuinfo", "meminfo"):
        _mount("--bind", dress / name, root / "proc" / name)
    _mount("--bind", dress / "sys", root / "sys")


def _make_home(root: Path, board: dict[str, Any]) -> None:
    user, uid, home = board["user"], board["uid"], board["home"]
    for name, line in (
        ("passwd", f"{user}:x:{uid}:{uid}::{home}:{board['shell']}"),
        ("group", f"{user}:x:{uid}:"),
        ("shadow", f"{user}:*:20000:0:99999:7:::"),
    ):
        with (root / "etc" / name).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    keys = root / home.lstrip("/") / ".ssh/authorized_keys"
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_bytes((Path(board["folder"]) / "authorized_keys").read_bytes())
    for place, mode in ((keys, 0o600), (keys.parent, 0o700), (keys.parent.parent, 0o755)):
        os.chown(place, uid, uid)
        place.chmod(mode)


def _start_sshd(root: Path, board: dict[str, Any]) -> subprocess.Popen[bytes]:
    place = root / board["sshd_folder"].lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    key = place / "ssh_host_ed25519_key"
    for path, source in (
        (key, "host_key"),
        (key.with_suffix(".pub"), "host_key.pub"),
        (place / "sshd_config", "config"),
    ):
        path.write_bytes((Path(board["folder"]) / source).read_bytes())
        path.chmod(0o600 if path == key else 0o644)
        os.chown(path, board["sshd_uid"], board["sshd_uid"])
    as_user = [f"--userspec={board['sshd_uid']}:{board['sshd_uid']}"] if board["sshd_uid"] else []
    config = f"{board['sshd_folder']}/sshd_config"
    argv = [shutil.which("chroot") or "chroot", *as_user, str(root), board["sshd"], "-D", "-e", "-f", config]
    return subprocess.Popen(argv, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **board["environment"]})


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
