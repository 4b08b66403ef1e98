"""Trusting a board: its host key is stored only when the user names the fingerprint read on the board itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekd.errors import InputError, SecurityError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url
from edgekd.hosts.hops import connected
from edgekd.hosts.known_hosts import HostKey, is_fingerprint, known_hosts_path, write_known_host
from edgekd.hosts.link import host_key, negotiated
from edgekd.hosts.resolve import target_from_text
from edgekd.hosts.target import Hop
from edgekd.text import printable


def fetch_host_key(host: str, port: int) -> HostKey:
    """The key the server at `host` and `port` shows. Errors: ConnectError."""
    return _shown(SshAddress(host, port), ())


def trust(board: str, fingerprint: str, known_hosts: Path | None = None, hosts: Path | None = None) -> HostKey:
    """Store the key of `board`, a URL or a name of hosts.yaml, when its fingerprint is `fingerprint`, and give it.

    A board behind other servers is asked through them, each of which must be trusted before.
    Errors: InputError when the fingerprint is no whole SHA-256 one; SecurityError when the board shows another key.
    """
    target = target_from_text(board, hosts=hosts, known_hosts=known_hosts)
    if not target.url.startswith("ssh://"):
        raise InputError(f"{target.name}: {target.url} has no host key, expected a board reached by ssh://")
    address = ssh_address_from_url(target.url)
    if not is_fingerprint(fingerprint):
        raise InputError(
            f"found the fingerprint {printable(repr(fingerprint), 80)}, expected SHA256: and 43 characters, "
            "as ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows on the board"
        )
    key = _shown(address, target.jump)
    if key.fingerprint != fingerprint:
        raise SecurityError(
            f"{address.url}: shows the key {key.fingerprint} ({key.kind}), not {fingerprint}. Nothing was stored; "
            "look at the key on the board itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        )
    write_known_host(target.known_hosts or known_hosts_path(), address, key)
    return key


def _shown(address: SshAddress, jump: Sequence[Hop]) -> HostKey:
    front = connected(jump) if jump else None
    try:
        transport = negotiated(address, [], front.transport if front else None)
        try:
            return host_key(transport)
        finally:
            transport.close()
    finally:
        if front is not None:
            front.close()
