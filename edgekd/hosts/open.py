"""From a URL, or a name of hosts.yaml, to an open host."""

from __future__ import annotations

from pathlib import Path

from edgekd.errors import InputError
from edgekd.hosts.base import Host
from edgekd.hosts.grammar import adb_serial_from_url, ssh_address_from_url
from edgekd.hosts.known_hosts import known_hosts_path
from edgekd.hosts.local import LocalHost
from edgekd.hosts.target import Hop, Login, Target
from edgekd.text import printable

DEFAULT_WORKSPACE = ".edgekd"
ADB_WORKSPACE = "/data/local/tmp/edgekd"


def open_host(
    url: str,
    *,
    key: Path | None = None,
    known_hosts: Path | None = None,
    python: str | None = None,
    workspace: str | None = None,
) -> Host:
    """The host at `url`, 'local', 'ssh://user@host:port' or 'adb:SERIAL', open for use.

    `workspace` is absolute or relative to the home there. Errors: InputError for a bad URL or key; MissingExtra without
    paramiko; ConnectError, HostError and SecurityError for the board.
    """
    return open_target(Target(url, url, Login(key), known_hosts, python, workspace))


def open_target(target: Target) -> Host:
    """The board that `target` describes, open for use. Errors: as open_host."""
    url, python = target.url, target.python
    if url == "local":
        return LocalHost(Path.home() / (target.workspace or DEFAULT_WORKSPACE), python=python)
    if url.startswith("adb:"):
        from edgekd.hosts.adb import AdbHost

        return AdbHost(
            adb_serial_from_url(url), python=python or "python3", workspace=target.workspace or ADB_WORKSPACE
        )
    if not url.startswith("ssh://"):
        raise _unknown(url)
    board = hop_of(target)
    board.login.checked(board.address.name)
    from edgekd.hosts.ssh import SshHost

    return SshHost((*target.jump, board), python=python or "python3", workspace=target.workspace or DEFAULT_WORKSPACE)


def hop_of(target: Target) -> Hop:
    """The SSH server that the board itself is. Errors: InputError for a URL out of the grammar."""
    known_hosts = target.known_hosts or known_hosts_path()
    return Hop(ssh_address_from_url(target.url), target.login, known_hosts)


def _unknown(url: str) -> InputError:
    return InputError(
        f"found the host {printable(repr(url), 120)}, expected 'local' or ssh://USER@HOST:PORT, "
        "such as ssh://pi@raspberrypi.local:22, or adb:SERIAL"
    )
