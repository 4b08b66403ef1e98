"""A private OpenSSH server on loopback: key login for the user who starts it, nothing else, and no root needed.

What one of its sessions starts carries a mark in its environment, so that stopping the server ends that too, however
far it was detached.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import ToolError

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
MARK = "EDGEKD_LAB_BOARD"
_START_S, _STOP_S, _STEP_S = 60.0, 10.0, 0.02

# Limits that tests with many connections would meet are far up. sshd scrubs the environment, so what a session is to
# know stands in SetEnv.
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey "{host_key}"
PidFile none
AuthorizedKeysFile "{authorized}"
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100:30:200
MaxSessions 50
SetEnv {environment}
"""
_SFTP = "Subsystem sftp internal-sftp"


@dataclass(frozen=True)
class Board:
    """An SSH server of the lab: where it listens and the files that belong to it."""

    folder: Path
    port: int
    user: str

    @property
    def url(self) -> str:
        """'ssh://user@127.0.0.1:port', as edgekd wants it."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def key(self) -> Path:
        """The private key that its account accepts."""
        return self.folder / "client_key"

    @property
    def public_host_key(self) -> str:
        """'kind base64' of the key by which it identifies itself."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """'SHA256:…', as ssh-keygen -l shows it."""
        digest = hashlib.sha256(base64.b64decode(self.public_host_key.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def known_hosts(self, path: Path) -> Path:
        """`path`, in which this server and no other is trusted."""
        path.write_text(f"[127.0.0.1]:{self.port} {self.public_host_key}\n")
        return path


def config_text(
    port: int, host_key: str, authorized: str, environment: Mapping[str, str], lines: Sequence[str] = (_SFTP,)
) -> str:
    """The sshd_config of every board of the lab; `environment` is what its sessions begin with, `lines` come last."""
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    text = _CONFIG.format(port=port, host_key=host_key, authorized=authorized, environment=words)
    return "\n".join([text, *lines, ""])


def make_key(path: Path) -> Path:
    """A new Ed25519 key at `path`, its public part beside it; nothing happens when it is there."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True)
    return path


def make_keys(folder: Path) -> None:
    """The keys of a board in `folder`, made once: its own, and the one that its account accepts."""
    make_key(folder / "host_key")
    shutil.copy(make_key(folder / "client_key").with_suffix(".pub"), folder / "authorized_keys")


def free_port() -> int:
    """A port of loopback on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def require_free(port: int) -> None:
    """Errors: ToolError when something listens on `port`, which would be taken for the server that is to come."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ToolError(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}). Name another: --port") from None


def start(
    folder: Path, *lines: str, port: int | None = None, sftp: bool = True
) -> tuple[Board, subprocess.Popen[bytes]]:
    """A server whose files stand in `folder`, answering, and its process; further `lines` go into its configuration.

    Errors: ToolError with what sshd said.
    """
    if SSHD is None:
        raise ToolError("no sshd on this machine: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)  # sshd of root refuses to start without it
    make_keys(folder)
    port = port or free_port()
    require_free(port)
    locks = {"EDGEKD_LOCKS": os.environ["EDGEKD_LOCKS"]} if "EDGEKD_LOCKS" in os.environ else {}
    environment = {MARK: mark(folder), **locks, **dict(word.split("=", 1) for word in _words_after("SetEnv", lines))}
    own = [line for line in lines if not line.startswith("SetEnv ")]
    text = config_text(
        port, f"{folder}/host_key", f"{folder}/authorized_keys", environment, (_SFTP, *own) if sftp else own
    )
    (folder / "sshd_config").write_text(text)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    await_banner(server, port, folder / "sshd.log")
    return Board(folder, port, getpass.getuser()), server


def _words_after(keyword: str, lines: Sequence[str]) -> list[str]:
    """What the `lines` say for `keyword`: of several lines with SetEnv, sshd takes the first alone."""
    return [word for line in lines if line.startswith(f"{keyword} ") for word in line.split()[1:]]


def stop(folder: Path, server: int | None) -> None:
    """End the server with the process id `server`, where it still runs, and whatever its sessions left running."""
    if server is not None:
        end_processes({server} | descendants(server))
    end_processes(set(marked_processes(folder)))


def mark(folder: Path) -> str:
    """A word for `folder` that needs no quotes."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def marked_processes(folder: Path) -> list[int]:
    """The living processes that sessions of the server in `folder` started, directly or not."""
    word = f"{MARK}={mark(folder)}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word in place.read_bytes().split(b"\0") and int(place.parent.name) != os.getpid():
                found.append(int(place.parent.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def end_processes(pids: set[int]) -> None:
    """Kill `pids` and wait until they are gone. Errors: ToolError when one lives on."""
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    end = time.monotonic() + _STOP_S
    while living := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > end:
            raise ToolError(f"the processes {living} of the lab do not end")
        time.sleep(_STEP_S)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """The living children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(place.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(place.parent.name))
    found: set[int] = set()
    left = [pid]
    while left:
        new = children.get(left.pop(), [])
        found.update(new)
        left += new
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def await_banner(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until an SSH server answers on `port`. Errors: ToolError with the end of `log`; `server` is dead then."""
    end = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < end:
        if answers(port):
            return
        time.sleep(_STEP_S)
    server.kill()
    server.wait()
    raise ToolError(f"the lab's server on port {port} did not start: {log.read_text(errors='replace')[-2000:]}")


def answers(port: int) -> bool:
    """Whether an SSH server greets on `port` of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
            return wire.recv(4) == b"SSH-"
    except OSError:
        return False
