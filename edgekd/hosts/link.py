"""The way to a board: a socket that notices a dead link, and a host key that is checked before anything is said.

paramiko's client class is not used: it asks agents, looks for keys, may prompt, and its keepalive counts no answers.
Here the server's key is compared with our own file before authentication begins, and nothing but the comparison lets a
connection go on.

Source: the kernel's TCP_USER_TIMEOUT (RFC 5482) ends a connection whose data stay unacknowledged; paramiko issue 2463.
A middlebox may acknowledge what never arrives, so the server itself is asked, too (watched.py).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Iterator

from edgekd.errors import ConnectError, MissingExtra, SecurityError
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.known_hosts import HostKey
from edgekd.text import printable

try:
    import paramiko
    from paramiko.ssh_exception import IncompatiblePeer

    from edgekd.hosts.watched import Watched
except ImportError:
    raise MissingExtra("paramiko", "ssh") from None

# Without a handler of its own, paramiko's tracebacks reach the user's terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# paramiko is named here so that every module of this folder gets it, or MissingExtra, in one place.
__all__ = ["BROKEN", "NONSENSE", "check_identity", "host_key", "negotiated", "paramiko"]

# Each address of a name gets that long, so that a broken IPv6 does not keep a good IPv4 waiting.
DIAL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 15.0
LINK_TIMEOUT_S = 15.0
KEEPALIVE_S = 5
BROKEN = (paramiko.SSHException, EOFError, OSError)
# Before the keys are agreed on nothing is authenticated, and paramiko stumbles over a turned bit in Python's own ways.
NONSENSE = (ValueError, LookupError, ArithmeticError, TypeError, struct.error)

# CBC is what the Terrapin attack (CVE-2023-48795) needed in paramiko; MD5 and SHA-1 are broken as hashes.
_WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
}
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


def negotiated(address: SshAddress, known: list[HostKey], through: paramiko.Transport | None = None) -> Watched:
    """An encrypted, not yet authenticated connection; the server is asked for a key of a kind in `known`.

    Errors: ConnectError; SecurityError for a server that offers nothing safe, or no key of such a kind.
    """
    wire = _open_socket(address) if through is None else _open_channel(address, through)
    transport = Watched(wire, disabled_algorithms=_WEAK)
    transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = CONNECT_TIMEOUT_S
    transport.channel_timeout = CONNECT_TIMEOUT_S
    if known:
        options = transport.get_security_options()
        options.key_types = tuple(name for key in known for name in _signatures(key.kind))
    with _agreement(transport, address, known):
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        transport.get_remote_server_key()
    return transport


@contextlib.contextmanager
def _agreement(transport: paramiko.Transport, address: SshAddress, known: list[HostKey]) -> Iterator[None]:
    try:
        yield
    except paramiko.SSHException as error:
        transport.close()
        said = printable(str(error), 200)
        if known and "host key" in said:
            raise SecurityError(
                f"{address.url}: has no host key of the kind trusted for it. {_how_to_trust(address)}"
            ) from None
        if isinstance(error, IncompatiblePeer):
            raise SecurityError(
                f"{address.url}: offers only algorithms that are no longer safe ({said}). Update the SSH server there"
            ) from None
        raise ConnectError(f"{address.url}: no SSH connection could be agreed on ({said})") from None
    except (EOFError, OSError):
        transport.close()
        raise ConnectError(f"{address.url}: closed the connection at once. Is this really an SSH server?") from None
    except NONSENSE as error:
        transport.close()
        said = printable(str(error), 200)
        raise ConnectError(f"{address.url}: what it says is no SSH or arrived damaged ({said}). Try again") from None


def host_key(transport: paramiko.Transport) -> HostKey:
    """The key by which the other side identified itself."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _signatures(kind: str) -> tuple[str, ...]:
    return _RSA_SIGNATURES if kind == "ssh-rsa" else (kind,)


def check_identity(address: SshAddress, found: HostKey, known: list[HostKey]) -> None:
    """Nothing when `found` is among the trusted keys of `address`. Errors: SecurityError that says how to trust it."""
    if found in known:
        return
    said = f"{address.url}: identifies itself by the key {found.fingerprint} ({found.kind})"
    if not known:
        raise SecurityError(f"{said}, which is not known here. {_how_to_trust(address, found)}")
    expected = " or ".join(key.fingerprint for key in known)
    raise SecurityError(
        f"{said}, but {expected} is trusted: another board, a reinstalled one, or an attack. "
        f"{_how_to_trust(address, found)}"
    )


def _how_to_trust(address: SshAddress, found: HostKey | None = None) -> str:
    fingerprint = found.fingerprint if found else "SHA256:…"
    return (
        "Compare with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the board, then run: "
        f"edgekd devices trust {address.url} --fingerprint {fingerprint}"
    )


def _open_socket(address: SshAddress) -> socket.socket:
    try:
        wire = socket.create_connection((address.host, address.port), timeout=DIAL_TIMEOUT_S)
    except socket.gaierror:
        raise ConnectError(f"{address.url}: no such host name. Check the spelling and the network") from None
    except ConnectionRefusedError:
        raise ConnectError(f"{address.url}: nothing listens on port {address.port}. Is sshd running there?") from None
    except TimeoutError:
        raise ConnectError(f"{address.url}: no answer within {DIAL_TIMEOUT_S:.0f} s. Is the board on?") from None
    except OSError as error:
        raise ConnectError(f"{address.url}: cannot be reached ({error.strerror or error})") from None
    # A request of two small packets would wait 40 ms for the acknowledgement of the first.
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_USER_TIMEOUT", int(LINK_TIMEOUT_S * 1000)),
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S),
        ("TCP_KEEPCNT", 3),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)
    return wire


def _open_channel(address: SshAddress, through: paramiko.Transport) -> paramiko.Channel:
    try:
        return through.open_channel(
            "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
        )
    except BROKEN as error:
        front = through.getpeername()[0]
        raise ConnectError(
            f"{address.url}: cannot be reached from the server in front of it, {printable(str(front), 80)} "
            f"({printable(str(error), 200)}). Is the board on, and is forwarding allowed there (AllowTcpForwarding)?"
        ) from None
