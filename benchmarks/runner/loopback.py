"""What the benchmarks of the runner share: a board that is this machine behind a private SSH server, and a witness."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from edgekd.bench.agent.facts import lasting_facts
from edgekd.hosts.base import Host
from edgekd.hosts.open import open_host
from edgekd.record import HostFacts
from tests.lab import sshd
from tests.lab.model import tiny_int8

# bash reads ~/.bashrc for each command that sshd gives it, unless it is told that it is a shell within another one.
# What the user of this machine has there (on ours it starts pyenv, 0.5 s) is no work of edgekd's or scp's.
_NO_START_FILES = "SetEnv SHLVL=1"
# Runs the board's Python, and in it a hook that keeps every result at the moment in which it takes its place: however
# the agent was started, and whoever removes the result afterwards.
_PYTHON = """\
#!/bin/sh
PYTHONPATH={folder} exec {python} "$@"
"""
_HOOK = """\
import os, shutil, sys, time

def keep(event, given):
    if event == "os.rename" and str(given[1]).endswith("result.json"):
        shutil.copy(given[0], {kept!r} + "/%d-%d.json" % (time.time_ns(), os.getpid()))

sys.addaudithook(keep)
"""


@dataclass(frozen=True)
class Loopback:
    """An SSH server on this machine, a tiny model, and a folder for whatever belongs to one benchmark."""

    board: sshd.Board
    known_hosts: Path
    model: Path
    folder: Path

    def open(self, name: str, *, port: int | None = None, python: Path | None = None) -> Host:
        """The board with the workspace `name`, through another `port` where a proxy stands before it."""
        user = self.board.user
        known = self.known_hosts
        if port is not None:
            known = self.folder / f"known-{port}"
            known.write_text(f"[127.0.0.1]:{port} {self.board.public_host_key}\n", encoding="utf-8")
        url = f"ssh://{user}@127.0.0.1:{port or self.board.port}"
        own = str(python or sys.executable)
        return open_host(url, key=self.board.key, known_hosts=known, python=own, workspace=str(self.workspace(name)))

    def workspace(self, name: str) -> Path:
        """Where the files of the workspace `name` lie on this machine, which is the board."""
        return self.folder / "work" / name

    def witness(self, name: str) -> tuple[Path, Path]:
        """A Python for the board that keeps every result of an agent, and the folder where it keeps them."""
        own = self.folder / "witness" / name
        kept, program = own / "kept", own / "python"
        kept.mkdir(parents=True)
        (own / "sitecustomize.py").write_text(_HOOK.format(kept=str(kept)), encoding="utf-8")
        text = _PYTHON.format(folder=shlex.quote(str(own)), python=shlex.quote(sys.executable))
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
        return program, kept


@contextmanager
def loopback() -> Iterator[Loopback]:
    """A board for the time of a benchmark; everything of it is gone afterwards. Errors: ToolError without sshd."""
    with tempfile.TemporaryDirectory(prefix="edgekd-runner-") as name:
        folder = Path(name)
        (folder / "sshd").mkdir()
        board, server = sshd.start(folder / "sshd", _NO_START_FILES)
        try:
            known = board.known_hosts(folder / "known_hosts")
            yield Loopback(board, known, tiny_int8(folder / "tiny-int8.onnx"), folder)
        finally:
            sshd.stop(board.folder, server.pid)
            server.wait(timeout=10)


def samples_in(kept: Path) -> list[tuple[int, ...]]:
    """The samples of every result that the witness kept, in the order of time, ns."""
    found = []
    for path in sorted(kept.glob("*.json")):
        table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found += [tuple(one["run"]["samples_ns"]) for one in table.get("runs", [])]
    return found


def this_machine() -> HostFacts:
    """The facts of this machine for the foot of a page of results."""
    return HostFacts.model_validate({**lasting_facts(), "name": "local"})
