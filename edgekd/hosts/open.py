"""From a URL to an open host."""

from __future__ import annotations

from pathlib import Path

from edgekd.errors import InputError
from edgekd.hosts.base import Host
from edgekd.hosts.grammar import ssh_address_from_url
from edgekd.hosts.known_hosts import known_hosts_path
from edgekd.hosts.local import LocalHost
from edgekd.text import printable

DEFAULT_WORKSPACE = ".edgekd"


def open_host(
    url: str,
    *,
    key: Path | None = None,
    known_hosts: Path | None = None,
    python: str | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> Host:
    """The host at `url`, 'local' or 'ssh://user@host:port', open for use.

    `workspace` is absolute or relative to the home there. Errors: InputError for a bad URL or key; MissingExtra without
    paramiko; ConnectError, HostError and SecurityError for the board.
    """
    if url == "local":
        return LocalHost(Path.home() / workspace, python=python)
    if not url.startswith("ssh://"):
        raise InputError(
            f"found the host {printable(repr(url), 120)}, expected 'local' or ssh://USER@HOST:PORT, "
            "such as ssh://pi@raspberrypi.local:22"
        )
    address = ssh_address_from_url(url)
    if key is None:
        raise InputError(f"{address.name}: no key file was named. Name the one to use: --key ~/.ssh/id_ed25519")
    from edgekd.hosts.ssh import SshHost

    return SshHost(
        address,
        key=key,
        known_hosts=known_hosts or known_hosts_path(),
        python=python or "python3",
        workspace=workspace,
    )
