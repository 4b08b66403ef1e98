"""From server to server to a board: each proves itself by its own key before the next one is contacted.

A connection to the next goes through the one before (direct-tcpip, which ssh -J uses, too); nothing else is forwarded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.hosts.known_hosts import read_known_hosts
from edgekd.hosts.link import KEEPALIVE_S, check_identity, host_key, negotiated, paramiko
from edgekd.hosts.login import authenticate, prepared
from edgekd.hosts.target import Hop
from edgekd.hosts.watched import SILENCE_S

_JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Link:
    """An authenticated connection to a board, and those that it goes through, nearest first."""

    transport: paramiko.Transport
    through: tuple[paramiko.Transport, ...] = ()

    def close(self) -> None:
        """Disconnect from the board, then from each server on the way; a second call does nothing."""
        for transport in (self.transport, *reversed(self.through)):
            transport.close()
            transport.join(timeout=_JOIN_S)


def connected(hops: Sequence[Hop]) -> Link:
    """A connection through each of `hops` to the last of them.

    Errors: SecurityError when the key of a hop is unknown or another one; ConnectError when there is no connection or
    a login is refused; InputError when a login cannot be used. Then no later hop was contacted.
    """
    with contextlib.ExitStack() as prepared_logins, contextlib.ExitStack() as opened:
        # All of them first: a wrong key file is told before anything is sent.
        logins = [prepared_logins.enter_context(prepared(hop)) for hop in hops]
        transports: list[paramiko.Transport] = []
        for hop, login in zip(hops, logins, strict=True):
            known = read_known_hosts(hop.known_hosts).get(hop.address.entry, [])
            transport = negotiated(hop.address, known, transports[-1] if transports else None)
            opened.callback(transport.close)
            check_identity(hop.address, host_key(transport), known)
            authenticate(transport, hop, login)
            transport.watch(ask_s=KEEPALIVE_S, silence_s=SILENCE_S)
            transports.append(transport)
        opened.pop_all()
    return Link(transports[-1], tuple(transports[:-1]))
