"""The boards of one lab folder: started once, found again by another process, and ended without a trace."""

from __future__ import annotations

import fcntl
import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgekd.errors import InputError
from edgekd.files import read_json, write_json
from tests.lab import boards, sshd
from tests.lab.sshd import Board

ROOT = Path(__file__).parents[2]
FOLDER_VARIABLE, TREES_VARIABLE = "EDGEKD_LAB_FOLDER", "EDGEKD_LAB_TREES"
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "sshd": "this machine itself behind an SSH server of its own; needs no root",
        "pi5": "aarch64 Debian dressed as a Raspberry Pi 5, emulated",
        "jetson": "aarch64 Debian dressed as a Jetson Orin Nano, emulated; its TensorRT is a stand-in",
        "termux": "a phone with Termux, emulated: port 8022, no /tmp, no /usr, busybox for a shell",
    }
)


@dataclass(frozen=True)
class Lab:
    """What stands in `folder`, keys and state of each board; `trees` keeps the userland, which takes minutes to build."""

    folder: Path
    trees: Path

    def up(self, name: str, port: int | None = None) -> Board:
        """The board `name`, one of NAMES, running; where it ran already, nothing happens.

        Without a `port` it has the one of last time, or that of its kind, or any.
        Errors: InputError for an unknown name or another port than it runs on; ToolError for what is missing.
        """
        place = self._place(name)
        place.mkdir(parents=True, exist_ok=True)
        with _alone(place / "lock"):
            running = self.running(name)
            if running is not None:
                if port not in (None, running.port):
                    raise InputError(
                        f"{name} runs on port {running.port}, not {port}. End it first: scripts/lab down {name}"
                    )
                return running
            sshd.stop(place, self._pid(name))  # one that does not answer any more, or what a killed one left
            chosen = port or self._port(name)
            if name == "sshd":
                process = sshd.start(place, port=chosen)[1]
            else:
                process = boards.start(name, place, self.trees, chosen)
            write_json(place / "state.json", {"pid": process.pid, "started": _started(process.pid), "port": chosen})
            # It outlives this program on purpose; without this, Python would warn of a forgotten child.
            process.returncode = 0
            return Board(place, chosen, _user(name))

    def down(self, name: str) -> bool:
        """End the board `name` and all that it started; False when it did not run. Errors: InputError, ToolError."""
        place = self._place(name)
        if not place.exists():
            return False
        with _alone(place / "lock"):
            pid = self._pid(name)
            sshd.stop(place, pid)
            return pid is not None

    def running(self, name: str) -> Board | None:
        """The board `name` where it runs and answers."""
        if self._pid(name) is None:
            return None
        port = read_json(self._place(name) / "state.json")["port"]
        return Board(self._place(name), port, _user(name)) if sshd.answers(port) else None

    def _place(self, name: str) -> Path:
        if name not in NAMES:
            raise InputError(f"found the board {name!r}, expected one of {', '.join(NAMES)}")
        return self.folder / "boards" / name

    def _port(self, name: str) -> int:
        state = self._place(name) / "state.json"
        if state.exists():
            last: int = read_json(state)["port"]
            return last
        own = None if name == "sshd" else boards.KINDS[name].port
        return own or sshd.free_port()

    def _pid(self, name: str) -> int | None:
        """The process of the board; a number that another process has meanwhile is not taken for it."""
        state = self._place(name) / "state.json"
        if not state.exists():
            return None
        found = read_json(state)
        pid: int = found["pid"]
        return pid if sshd.is_alive(pid) and _started(pid) == found["started"] else None


def usual_lab() -> Lab:
    """The lab in .lab/ of the checkout, or where the environment's EDGEKD_LAB_FOLDER and EDGEKD_LAB_TREES say."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or ROOT / ".lab").absolute()
    return Lab(folder, Path(os.environ.get(TREES_VARIABLE) or folder / "trees").absolute())


def _user(name: str) -> str:
    return getpass.getuser() if name == "sshd" else boards.KINDS[name].user


def _started(pid: int) -> list[str]:
    """When a process began, in ticks since a boot, and which boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19], boot]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
