"""Trusting a board: its host key is stored only when the user names the fingerprint read on the board itself."""

from __future__ import annotations

from pathlib import Path

from edgekd.errors import InputError, SecurityError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url
from edgekd.hosts.known_hosts import HostKey, is_fingerprint, known_hosts_path, write_known_host
from edgekd.hosts.link import host_key, negotiated
from edgekd.text import printable


def fetch_host_key(host: str, port: int) -> HostKey:
    """The key the server at `host` and `port` shows. Errors: ConnectError."""
    transport = negotiated(SshAddress(host, port), [])
    try:
        return host_key(transport)
    finally:
        transport.close()


def trust(url: str, fingerprint: str, known_hosts: Path | None = None) -> HostKey:
    """Store the key of the board at `url` in `known_hosts` when its fingerprint is `fingerprint`, and give it.

    Errors: InputError when the fingerprint is no whole SHA-256 one; SecurityError when the board shows another key.
    """
    address = ssh_address_from_url(url)
    if not is_fingerprint(fingerprint):
        raise InputError(
            f"found the fingerprint {printable(repr(fingerprint), 80)}, expected SHA256: and 43 characters, "
            "as ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows on the board"
        )
    key = fetch_host_key(address.host, address.port)
    if key.fingerprint != fingerprint:
        raise SecurityError(
            f"{address.url}: shows the key {key.fingerprint} ({key.kind}), not {fingerprint}. Nothing was stored; "
            "look at the key on the board itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
        )
    write_known_host(known_hosts or known_hosts_path(), address, key)
    return key
