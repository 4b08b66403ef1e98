"""Wheels really sent and really installed, by the pip of a venv that is really made, without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from staged_boards import pi_facts

from edgekd.errors import HostError, SecurityError
from edgekd.hosts.fake import Answer, FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.open import open_host
from edgekd.probe.provision import provision
from edgekd.probe.wheels import lock_folder


def make_wheel(folder: Path, version: str = "1.0", source: str = "ANSWER = 42\n") -> Path:
    """A tiny pure wheel, as the specification of wheels wants it."""
    path = folder / f"tinything-{version}-py3-none-any.whl"
    files = {
        "tinything.py": source,
        f"tinything-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tinything\nVersion: {version}\n",
        f"tinything-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(text.encode())}")
    record = f"tinything-{version}.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, record: "\n".join([*lines, f"{record},,", ""])}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder)
    lock_folder(folder)
    return folder


INSTALLED = "import tinything, sys; print(tinything.ANSWER, sys.prefix != sys.base_prefix)"


def test_locked_wheels_are_installed_over_ssh_and_found_again(board: Any, tmp_path: Path, wheels: Path) -> None:
    known, work = board.known_hosts(tmp_path / "known_hosts"), str(tmp_path / "work")
    steps: list[str] = []
    with open_host(board.url, key=board.key, known_hosts=known, workspace=work, python=sys.executable) as host:
        done = provision(host, wheels, on_step=steps.append)
        assert (done.sent, done.was_there) == (1, False)
        assert host.run([done.python, "-c", INSTALLED], timeout_s=60).stdout == "42 True\n"
        again = provision(host, wheels)
        assert (again.python, again.sent, again.was_there) == (done.python, 0, True)
    assert (steps[0], steps[-1]) == ("sending tinything-1.0-py3-none-any.whl", "installing")


OFFLINE = """
import socket, sys
from pathlib import Path
from edgekd.hosts.local import LocalHost
from edgekd.probe.provision import provision
try:
    socket.create_connection(("127.0.0.1", 9), timeout=5)
except OSError as error:
    print(error.strerror)
with LocalHost(Path(sys.argv[1]), python=sys.executable) as host:
    done = provision(host, Path(sys.argv[2]))
    print(host.run([done.python, "-c", sys.argv[3]], timeout_s=60).stdout)
"""


def test_provisioning_needs_no_network(tmp_path: Path, wheels: Path) -> None:
    """In a network namespace of its own, whose only interface is down."""
    argv = [sys.executable, "-c", OFFLINE, str(tmp_path / "work"), str(wheels), INSTALLED]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", *argv], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["Network is unreachable", "42 True"], done.stderr


def test_a_wheel_that_changed_on_the_way_is_not_installed(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip on the board asks for its hash once more; what came of that is no Python to measure with."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # whoever asks a network fails

    class Swapping(LocalHost):
        def put(self, local: Path, remote: str, *, timeout_s: float = 600) -> bool:
            done = super().put(local, remote, timeout_s=timeout_s)
            if remote.endswith(".whl"):
                (tmp_path / "evil").mkdir(exist_ok=True)
                self.write(remote, make_wheel(tmp_path / "evil", source="ANSWER = 'evil'\n").read_bytes())
            return done

    with Swapping(tmp_path / "work") as host, pytest.raises(HostError, match="pip install failed there") as caught:
        provision(host, wheels)
    assert "hash" in str(caught.value).lower()
    assert list((tmp_path / "work" / "venvs").glob("*/bin/python"))
    assert not list((tmp_path / "work" / "venvs").glob("*/edgekd-complete"))


def test_another_choice_is_another_python_and_an_equal_one_is_shared(wheels: Path) -> None:
    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "--version":
            return Answer(stdout=b"Python 3.11.2")
        probing = len(argv) > 2 and argv[2] == "probe"
        return Answer(files={argv[3]: json.dumps({**pi_facts(), "format": 1}).encode()} if probing else {})

    host = FakeHost(respond=respond)
    first = provision(host, wheels)
    assert provision(host, wheels).was_there
    venv = first.python.removesuffix("/bin/python")
    host.files[f"{venv}/edgekd-complete"] = b"of another"  # as one that was not finished has none
    assert not provision(host, wheels).was_there
    make_wheel(wheels, "2.0")
    lock_folder(wheels)
    second = provision(host, wheels)
    assert second.python != first.python
    assert [wheel.version for wheel in second.wheels] == ["2.0"]
    (venv, place) = (second.python.removesuffix("/bin/python"), f"blobs/{second.wheels[0].sha256}")
    assert host.files[f"{venv}/requirements.txt"].decode() == (
        f"./{place}/tinything-2.0-py3-none-any.whl --hash=sha256:{second.wheels[0].sha256}\n"
    )


def test_nothing_is_sent_of_a_folder_that_is_not_as_it_was_locked(wheels: Path) -> None:
    make_wheel(wheels, source="ANSWER = 'evil'\n")
    host = FakeHost()
    with pytest.raises(SecurityError):
        provision(host, wheels)
    assert (host.runs, host.sent) == ([], [])


def test_a_python_without_venv_is_told_what_to_install(wheels: Path) -> None:
    def respond(host: FakeHost, argv: tuple[str, ...]) -> Answer:
        if argv[1] == "--version":
            return Answer(stdout=b"Python 3.11.2")
        if argv[2] == "probe":
            return Answer(files={argv[3]: json.dumps({**pi_facts(), "format": 1}).encode()})
        return Answer(1, stdout=b"The virtual environment was not created because ensurepip is not available.\n")

    with pytest.raises(
        HostError, match=r"making a venv failed there .*ensurepip.* sudo apt-get install -y python3-venv"
    ):
        provision(FakeHost(respond=respond), wheels)
