"""Emulated boards: an arm64 userland, a dress and an sshd, in name spaces of their own on this machine.

Two settings make onnxruntime work under qemu-user, and every board has them. Over this machine's own /proc/cpuinfo it
crashes when a session is made, so an ARM one is bound there. And with the emulator's default processor, which has all
extensions, int8 models of qemu 7.2 answer wrongly and say nothing; so QEMU_CPU names a real one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.errors import ToolError
from tests.lab.dress import write_dress
from tests.lab.rootfs import LIBRARIES, tree
from tests.lab.sshd import MARK, await_banner, config_text, make_keys, mark, require_free

INSIDE = Path(__file__).parent / "inside.py"
PREFIX = "/data/data/com.termux/files/usr"
QEMU = "qemu-aarch64"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_BUSYBOX = (
    "sh", "ls", "cat", "cp", "mv", "rm", "mkdir", "rmdir", "ps", "df", "du", "id", "uname", "sleep", "kill", "chmod",
    "chown", "grep", "sed", "awk", "head", "tail", "wc", "date", "env", "echo", "printf", "nproc", "free", "top", "test",
    "true", "false", "sha256sum", "md5sum", "tar", "gzip", "find", "sync", "stat", "touch", "dd", "sort", "cut", "tr",
    "mktemp", "mkfifo", "readlink", "which",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of emulated board: its dress, its account, its emulated processor and the kernel release it claims."""

    dress: str
    user: str
    hostname: str
    qemu_cpu: str
    kernel: str
    uid: int = 1000
    home: str = ""
    shell: str = "/bin/bash"
    port: int | None = None
    sshd: str = "/usr/sbin/sshd"
    sshd_folder: str = "/etc/ssh"
    sshd_uid: int = 0
    tools: str = "/usr/bin"
    environment: Mapping[str, str] = field(default_factory=dict)
    scratch: Mapping[str, int] = field(default_factory=lambda: {"/tmp": 256})
    termux: bool = False


KINDS = {
    "pi5": Kind("raspberry-pi-5", "pi", "raspberrypi", "cortex-a76", "6.6.31+rpt-rpi-2712"),
    "jetson": Kind("jetson-orin-nano", "jetson", "ubuntu", "cortex-a76", "5.15.148-tegra"),
    # An app's own account, whose number Android gives, runs sshd; everything it has lies under the prefix.
    "termux": Kind(
        "pixel-6", "u0_a123", "localhost", "cortex-a76", "5.10.157-android13-4-00003",
        uid=10123, home="/data/data/com.termux/files/home", shell=f"{PREFIX}/bin/sh", port=8022,
        sshd=f"{PREFIX}/bin/sshd", sshd_folder=f"{PREFIX}/etc/ssh", sshd_uid=10123, tools="/system/bin",
        environment={
            "PREFIX": PREFIX, "HOME": "/data/data/com.termux/files/home", "TMPDIR": f"{PREFIX}/tmp",
            "PATH": f"{PREFIX}/bin:/system/bin", "LD_LIBRARY_PATH": f"{PREFIX}/lib/{LIBRARIES.name}",
            "ANDROID_ROOT": "/system", "ANDROID_DATA": "/data", "TERMUX_VERSION": "0.118.1",
        },
        scratch={}, termux=True,
    ),
}  # fmt: skip


def missing() -> list[str]:
    """What keeps this machine from running emulated boards, each with its remedy; empty when nothing does."""
    found = []
    if not sys.platform.startswith("linux"):
        return ["emulated boards need Linux"]
    if os.geteuid() != 0:
        found.append("emulated boards need root, for mounts and name spaces: run it with sudo")
    packages = {
        "qemu-aarch64-static": "qemu-user-static",
        "mmdebstrap": "mmdebstrap",
        "arch-test": "arch-test",
        "unshare": "util-linux",
        "ssh-keygen": "openssh-client",
    }
    lacking = [package for command, package in packages.items() if shutil.which(command) is None]
    if lacking:
        found.append(f"missing packages: apt-get install {' '.join(lacking)}")
    return found


def require_emulator() -> None:
    """Have the kernel start aarch64 programs by qemu-user, as it does until the next reboot. Errors: ToolError."""
    if found := missing():
        raise ToolError("; ".join(found))
    entry = _BINFMT / QEMU
    if not (_BINFMT / "register").exists():
        _run("mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT))
    if not entry.exists():
        described = Path(f"/usr/lib/binfmt.d/{QEMU}.conf")
        if shutil.which("update-binfmts") is not None:
            _run("update-binfmts", "--enable", QEMU)
        elif described.exists():
            (_BINFMT / "register").write_text(described.read_text().strip())
    flags = [line for line in entry.read_text().splitlines() if line.startswith("flags")] if entry.exists() else []
    if not flags or "F" not in flags[0]:
        raise ToolError(
            f"the kernel does not start aarch64 programs by qemu-user inside a chroot ({entry} has "
            f"{flags[0] if flags else 'no entry'}, expected the flag F): apt-get install qemu-user-static binfmt-support"
        )


def start(name: str, folder: Path, trees: Path, port: int) -> subprocess.Popen[bytes]:
    """The board `name`, one of KINDS, answering on `port`: its process, which takes all of the board along.

    `trees` keeps the userland between boards and runs. Errors: ToolError for what is missing or went wrong.
    """
    require_emulator()
    require_free(port)
    kind, userland = KINDS[name], tree(trees)
    _fresh(folder)
    make_keys(folder)
    write_dress(kind.dress, folder / "dress")
    _install_tools(kind, folder)
    (folder / "board.json").write_text(json.dumps(_described(kind, folder, userland)), encoding="utf-8")
    environment = {MARK: mark(folder), **_emulator(kind), **kind.environment}
    text = config_text(port, f"{kind.sshd_folder}/ssh_host_ed25519_key", ".ssh/authorized_keys", environment)
    (folder / "config").write_text(text, encoding="utf-8")
    spaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--uts", "--ipc", "--kill-child=SIGKILL")
    with (folder / "board.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", *spaces, sys.executable, "-I", str(INSIDE), str(folder / "board.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    await_banner(process, port, folder / "board.log")
    return process


def _fresh(folder: Path) -> None:
    """Everything of the last start thrown away but the keys, so that trust in the board lasts."""
    for layer in ("upper", "work", "skeleton"):
        shutil.rmtree(folder / layer, ignore_errors=True)
    for layer in ("upper", "work", "root"):
        (folder / layer).mkdir(parents=True, exist_ok=True)


def _emulator(kind: Kind) -> dict[str, str]:
    return {"QEMU_CPU": kind.qemu_cpu, "QEMU_UNAME": kind.kernel}


def _described(kind: Kind, folder: Path, userland: Path) -> dict[str, Any]:
    """What inside.py reads."""
    skeleton, binds = (_termux(folder, userland), _termux_binds(userland)) if kind.termux else (userland, {})
    return {
        "folder": str(folder),
        "skeleton": str(skeleton),
        "binds": {inside: str(outside) for inside, outside in binds.items()},
        "scratch": dict(kind.scratch),
        "dress": str(folder / "dress"),
        "user": kind.user,
        "uid": kind.uid,
        "home": kind.home or f"/home/{kind.user}",
        "shell": kind.shell,
        "hostname": kind.hostname,
        "sshd": kind.sshd,
        "sshd_folder": kind.sshd_folder,
        "sshd_uid": kind.sshd_uid,
        "environment": {**_emulator(kind), **kind.environment},
    }


def _install_tools(kind: Kind, folder: Path) -> None:
    upper = folder / "upper"
    shutil.copytree(folder / "dress/bin", upper / kind.tools.lstrip("/"))
    if (folder / "dress/etc").exists():
        shutil.copytree(folder / "dress/etc", upper / "etc")
    if kind.dress == "jetson-orin-nano":
        place = upper / "usr/src/tensorrt/bin"  # where NVIDIA's packages put it, and no PATH leads
        place.mkdir(parents=True)
        (upper / "usr/bin/trtexec").rename(place / "trtexec")


def _termux_binds(userland: Path) -> dict[str, Path]:
    """Large parts that Termux has under its prefix; ours are Debian's."""
    names = (LIBRARIES.name, "python3.11", "python3", "openssh")
    return {f"{PREFIX}/lib/{name}": userland / "usr/lib" / name for name in names}


def _termux(folder: Path, userland: Path) -> Path:
    """A tree with no /tmp, no /usr and no shell but busybox; Python and sshd only under the prefix."""
    root = folder / "skeleton"
    prefix = root / PREFIX.lstrip("/")
    for name in ("system/bin", "system/etc", "proc", "sys", "dev", "sdcard", "lib"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "etc/ssh", "tmp", "var/empty", "var/run"):
        (prefix / name).mkdir(parents=True)
    shutil.copy(userland / "usr/bin/busybox", root / "system/bin/busybox")
    for applet in _BUSYBOX:
        (root / "system/bin" / applet).symlink_to("busybox")
    (root / "bin").symlink_to("system/bin")
    (root / "etc").symlink_to("system/etc")
    (prefix / "bin/sh").symlink_to("/system/bin/busybox")
    shutil.copy(userland / "usr/bin/python3.11", prefix / "bin/python3.11")
    shutil.copy(userland / "usr/sbin/sshd", prefix / "bin/sshd")
    for name in ("python3", "python"):
        (prefix / "bin" / name).symlink_to("python3.11")
    loader = "ld-linux-aarch64.so.1"
    (root / "lib" / loader).symlink_to(f"{PREFIX}/lib/{LIBRARIES.name}/{loader}")
    for name, text in (
        ("passwd", "root:x:0:0::/:/system/bin/sh\nsshd:x:101:65534::/:/system/bin/false\n"),
        ("group", "root:x:0:\ninet:x:3003:u0_a123\n"),
        ("shadow", "root:*:1::::::\n"),
    ):
        (root / "system/etc" / name).write_text(text)
    _own(prefix.parent, KINDS["termux"].uid)
    return root


def _own(folder: Path, uid: int) -> None:
    for place in (folder, *folder.rglob("*")):
        os.lchown(place, uid, uid)


def _run(*argv: str) -> None:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode:
        raise ToolError(f"{argv[0]} ended with status {ended.returncode}: {ended.stderr.strip()}")
