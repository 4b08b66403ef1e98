"""Install runtimes on a board that has no network: locked wheels, sent by their content, into a Python of their own.

The wheels are verified against the lock file here, by the copy on their way, and by pip there, which is given the
hashes. They go into `venvs/KEY` in the workspace, where KEY is the content of what was chosen, so equal choices share
one and another choice is another Python. A venv that was not finished is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import HostError
from edgekd.files import content_hash
from edgekd.hosts.base import Completed, Host
from edgekd.probe.facts import ask, require_python
from edgekd.probe.wheels import Wheel, choose, locked_wheels
from edgekd.text import printable

VENV_TIMEOUT_S, INSTALL_TIMEOUT_S = 600.0, 1800.0
_COMPLETE = "edgekd-complete"


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The Python to measure with, as a path in the workspace, and what was installed for it."""

    python: str
    wheels: tuple[Wheel, ...]
    sent: int
    was_there: bool


def provision(host: Host, folder: Path, *, on_step: Callable[[str], None] | None = None) -> Provisioned:
    """Choose, send and install the wheels of `folder` that fit the board.

    Errors: InputError and SecurityError for the folder; HostError when no wheel fits, or for what failed there.
    """
    told = on_step or (lambda _: None)
    wheels = locked_wheels(folder)
    require_python(host)
    facts = ask(host)
    chosen = choose(wheels, facts.python, facts.hardware.machine, host.name)
    key = content_hash([facts.python.executable, facts.python.version, [(one.path.name, one.sha256) for one in chosen]])
    venv = f"venvs/{key[:20]}"
    python = f"{venv}/bin/python"
    if _is_complete(host, venv, key):
        return Provisioned(python, tuple(chosen), 0, was_there=True)
    sent = 0
    for wheel in chosen:
        told(f"sending {wheel.path.name}")
        sent += host.put(wheel.path, _place(wheel))
    told(f"making {venv}")
    host.remove(venv)
    _require(host, [host.python, "-m", "venv", venv], VENV_TIMEOUT_S, "making a venv", _VENV_MEND)
    requirements = f"{venv}/requirements.txt"
    host.write(requirements, _requirements(chosen).encode())
    told("installing")
    install = [python, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "install"]
    install += ["--no-index", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--require-hashes"]
    _require(host, [*install, "-r", requirements], INSTALL_TIMEOUT_S, "pip install", "Is its disk full?")
    host.write(f"{venv}/{_COMPLETE}", key.encode())
    return Provisioned(python, tuple(chosen), sent, was_there=False)


_VENV_MEND = "On the board: sudo apt-get install -y python3-venv"


def _place(wheel: Wheel) -> str:
    return f"blobs/{wheel.sha256}/{wheel.path.name}"


def _requirements(wheels: Sequence[Wheel]) -> str:
    # pip reads the paths from the folder that it runs in, which is the workspace.
    return "".join(f"./{_place(wheel)} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)


def _is_complete(host: Host, venv: str, key: str) -> bool:
    try:
        if host.read(f"{venv}/{_COMPLETE}", max_bytes=100) != key.encode():
            return False
    except HostError:
        return False  # not made yet, or not to its end
    return host.run([f"{venv}/bin/python", "-c", "pass"], timeout_s=60).exit_status == 0


def _require(host: Host, argv: Sequence[str], timeout_s: float, what: str, mend: str) -> Completed:
    done = host.run(argv, timeout_s=timeout_s, max_output_bytes=1 << 16)
    if done.exit_status != 0:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")] or said[-1:]
        raise HostError(
            f"{host.name}: {what} failed there ({printable(' '.join(errors) or 'nothing said', 400)}). {mend}"
        )
    return done
