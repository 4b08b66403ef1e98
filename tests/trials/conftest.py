"""A real PostgreSQL server where one is installed, and studies on a journal file and on that server."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import optuna

from edgekd.trials.register import Register
from edgekd.trials.storage import Place, opened


def _bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    inside = shutil.which("initdb")
    return found[-1].parent if found else Path(inside).parent if inside else None


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """A PostgreSQL of our own on loopback, which asks for a password."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.port, self.password, self.user = _free_port(), secrets.token_hex(16), "trials"
        # PostgreSQL refuses to run as root.
        self._as = {"user": "postgres"} if os.getuid() == 0 else {}
        secret = home / "password"
        secret.write_text(self.password)
        if self._as:
            owner = pwd.getpwnam("postgres")
            for path in (home, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._programs, self._data = programs, home / "data"
        self._call(
            "initdb",
            "--pgdata",
            self._data,
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            f"--username={self.user}",
            "--no-sync",
        )
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._call("pg_ctl", "--pgdata", self._data, "-w", "-o", options, "-l", home / "log", "start")

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        self._call("pg_ctl", "--pgdata", self._data, "-m", "immediate", "stop")

    def _call(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=program != "pg_ctl", cwd="/", timeout=120, **self._as
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    programs = _bin()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed here: apt-get install postgresql")
    home = Path(tempfile.mkdtemp(prefix="edgekd-postgres-"))
    running = Server(home, programs)
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["journal", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the trials of a test are kept: both kinds."""
    if request.param == "journal":
        return Place("journal", tmp_path / "journal.log")
    url = request.getfixturevalue("server").url
    return Place("the database", url=url.replace("postgresql:", "postgresql+psycopg:"))


MakeRegister = Callable[..., Register]


@pytest.fixture
def make_register(place: Place) -> Iterator[MakeRegister]:
    """Registers of one study, each of a worker with a connection of its own."""
    name = secrets.token_hex(8)
    with ExitStack() as around:

        def make(worker: str, **settings: float) -> Register:
            storage = around.enter_context(opened(place))
            study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
            return Register(study, place, worker, **settings)

        yield make
