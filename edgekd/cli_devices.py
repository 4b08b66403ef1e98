"""The verbs of `edgekd devices` that show, ask and make ready: printed here. How each ends is for edgekd.cli."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd import options as opt

Option, Argument = typer.Option, typer.Argument
Key = Annotated[str | None, Option(help="The private key file for ssh.")]
KnownHosts = Annotated[str | None, Option(help="Another file of trusted host keys.")]
PythonThere = Annotated[str | None, Option("--python", help="The Python interpreter on the host.")]


def _told(line: str) -> None:
    print(line, flush=True)


def list_command() -> int:
    """List the devices that have a profile."""
    from edgekd.report.terminal import device_table

    for line in device_table():
        print(line)
    return 0


def show_command(name: Annotated[str, Argument(help="A name from edgekd devices list, or a file.")]) -> int:
    """Show a profile: every number with its source."""
    from edgekd.report.terminal import device_lines

    for line in device_lines(name):
        print(line)
    return 0


def probe_command(
    host: opt.Board,
    device: Annotated[
        str | None, Option(help="Compare with this profile: a name from edgekd devices list, or a file.")
    ] = None,
    out: Annotated[Path | None, Option(help="Write a drafted profile, a YAML file, here.")] = None,
    key: Key = None,
    known_hosts: KnownHosts = None,
    python: PythonThere = None,
    hosts: opt.HostsFile = None,
) -> int:
    """Ask a board what it is, compare it with a profile, and draft one; nothing is changed there."""
    from edgekd.pipeline.examine import probe

    probe(host, device, out, _told, key=key, known_hosts=known_hosts, python=python, hosts=hosts)
    return 0


def doctor_command(
    host: opt.Board,
    key: Key = None,
    known_hosts: KnownHosts = None,
    python: PythonThere = None,
    hosts: opt.HostsFile = None,
) -> int:
    """Find what keeps a board from measuring, and the command that mends each: exit 0, or 4 when something is missing."""
    from edgekd.pipeline.examine import doctor
    from edgekd.probe.doctor import lines

    diagnosis = doctor(host, key=key, known_hosts=known_hosts, python=python, hosts=hosts)
    for line in lines(diagnosis):
        print(line)
    return diagnosis.exit_code


def provision_command(
    host: opt.Board,
    wheels: Annotated[Path, Option(help="A folder of wheels, with its lock file.")],
    lock: Annotated[
        bool, Option("--lock", help="Write the lock file of the folder first: these wheels are meant.")
    ] = False,
    key: Key = None,
    known_hosts: KnownHosts = None,
    python: PythonThere = None,
    hosts: opt.HostsFile = None,
) -> int:
    """Install the wheels that fit on a board that needs no network for it, into a Python of their own."""
    from edgekd.pipeline.examine import provision

    provision(host, wheels, _told, lock=lock, key=key, known_hosts=known_hosts, python=python, hosts=hosts)
    return 0


DEVICE_VERBS: dict[str, Callable[..., Any]] = {
    "list": list_command,
    "show": show_command,
    "probe": probe_command,
    "doctor": doctor_command,
    "provision": provision_command,
}
