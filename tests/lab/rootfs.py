"""An arm64 Debian userland for boards that run under qemu-user, built from packages in a minute or two and then kept.

The packages are unpacked only: their installation scripts, which would run emulated, take nine tenths of the usual time.
What those leave behind that a board needs, accounts and a few links, is written here; so is nothing else, and apt does
not work inside. The wheels for aarch64 come by this machine's pip, which is told another platform.

Source: mmdebstrap(1), variant extract; pip's --platform and --abi; the wheel tags are those of PEP 600.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from edgekd.errors import ToolError

SUITE, ARCHITECTURE = "bookworm", "arm64"
PYTHON = (3, 11)  # of the suite: the wheels and the compiled modules are for this one
LIBRARIES = Path("usr/lib/aarch64-linux-gnu")
PACKAGES = (
    "base-files", "base-passwd", "bash", "busybox-static", "ca-certificates", "coreutils", "dash", "debianutils",
    "findutils", "grep", "gzip", "hostname", "libc-bin", "libstdc++6", "login", "mawk", "ncurses-base",
    "openssh-server", "openssh-sftp-server", "passwd", "procps", "python3", "python3-venv", "sed", "tar", "util-linux",
)  # fmt: skip
PLATFORMS = (*(f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 24, 17)), "manylinux2014_aarch64")
_UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_PART = f"{ARCHITECTURE}-part-"
_TIMEOUT_S = 1800.0
UNUSED_S = 30 * 24 * 3600.0


def wheels() -> tuple[str, ...]:
    """What is installed into the userland: the releases of this machine, so that both sides run the same runtime."""
    return tuple(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy"))


def content_key() -> str:
    """Twelve hexadecimal digits that change with whatever the userland is made from."""
    parts = (SUITE, ARCHITECTURE, *PACKAGES, *wheels(), *PLATFORMS, str(sys.version_info[:2]))
    own = hashlib.sha256(Path(__file__).read_bytes())
    own.update("\n".join(parts).encode())
    return own.hexdigest()[:12]


def tree(folder: Path) -> Path:
    """The userland in `folder`, built when it is not there. Errors: ToolError when a package or the network is missing.

    Only root can build it, since files belong to many accounts. Two calls at once build it once.
    """
    place = folder / f"{ARCHITECTURE}-{content_key()}"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        _tidy(folder)
        if not place.exists():
            _build(place, folder)
        os.utime(place)
    return place


def _tidy(folder: Path) -> None:
    """Remove the remains of killed builds, and userlands that no board was started from for long.

    Others may belong to another checkout that shares the folder, or lie under a board that runs.
    """
    for place in folder.glob(f"{ARCHITECTURE}-*"):
        if place.name.startswith(_PART) or time.time() - place.stat().st_mtime > UNUSED_S:
            shutil.rmtree(place)


def _build(place: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=_PART, dir=folder) as name:
        part = Path(name) / "root"
        _unpack(part, folder / "build.log")
        _settle(part)
        _install_wheels(part, folder / "build.log")
        _compile(part)
        part.chmod(0o755)
        part.rename(place)


def _unpack(root: Path, log: Path) -> None:
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
    # Where /bin and /lib are links into /usr, as on every system of this suite.
    merged = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    _run(
        "mmdebstrap", "--mode=root", "--variant=extract", f"--arch={ARCHITECTURE}", f"--include={','.join(PACKAGES)}",
        '--aptopt=APT::Install-Recommends "false"', *options, merged, SUITE, str(root), log=log,
    )  # fmt: skip


def _settle(root: Path) -> None:
    """What the packages' scripts would have done, as far as a board needs it."""
    base = root / "usr/share/base-passwd"
    accounts = (base / "passwd.master").read_text() + "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
    (root / "etc/passwd").write_text(accounts)
    shutil.copy(base / "group.master", root / "etc/group")
    names = [line.partition(":")[0] for line in accounts.splitlines()]
    shadow = root / "etc/shadow"
    shadow.write_text("".join(f"{name}:*:20000:0:99999:7:::\n" for name in names))
    shadow.chmod(0o640)
    for folder in ("run/sshd", "home", "proc", "sys", "dev", "tmp", "root", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for link, target in (("usr/bin/awk", "mawk"), ("usr/bin/sh", "dash")):
        if not (root / link).is_symlink() and not (root / link).exists():
            (root / link).symlink_to(target)
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in certificates))


def _install_wheels(root: Path, log: Path) -> None:
    tag = "".join(map(str, PYTHON))
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    abis = [word for abi in (f"cp{tag}", "abi3", "none") for word in ("--abi", abi)]
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", ".".join(map(str, PYTHON)), *abis, *platforms,
        "--target", str(root / "usr/lib/python3/dist-packages"), *wheels(), log=log,
    )  # fmt: skip


def _compile(root: Path) -> None:
    """Byte code by this machine's Python where it is the same release: importing numpy then takes a fifth of the time."""
    if sys.version_info[:2] != PYTHON:
        return
    places = [str(root / "usr/lib" / name) for name in (f"python{PYTHON[0]}.{PYTHON[1]}", "python3")]
    # Its exit status tells of files for other Pythons that do not compile, and those are never imported.
    subprocess.run([sys.executable, "-m", "compileall", "-qq", "-s", str(root), "-p", "/", *places], check=False)


def _run(*argv: str, log: Path) -> None:
    with log.open("ab") as stream:
        ended = subprocess.run(argv, stdout=stream, stderr=stream, check=False, timeout=_TIMEOUT_S)
    if ended.returncode:
        said = log.read_text(errors="replace").strip().splitlines()
        raise ToolError(
            f"the lab could not build its userland: {Path(argv[0]).name} ended with status {ended.returncode}; "
            f"the last it said: {said[-1] if said else 'nothing'}. All of it: {log}"
        )


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
