"""The way to a board: a socket that notices a dead link, a host key that is checked before anything is said, one key.

paramiko's client class is not used: it asks agents, looks for keys, may prompt, and its keepalive counts no answers.
Here the server's key is compared with our own file before authentication begins, and nothing but the comparison lets a
connection go on.

Source: the kernel's TCP_USER_TIMEOUT (RFC 5482) ends a connection whose data stay unacknowledged; paramiko issue 2463.
"""

from __future__ import annotations

import logging
import socket
import stat
from pathlib import Path

from edgekd.errors import ConnectError, InputError, MissingExtra, SecurityError
from edgekd.files import read_bytes
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.known_hosts import HostKey, read_known_hosts
from edgekd.text import printable

try:
    import paramiko
    from paramiko.pkey import UnknownKeyType
except ImportError:
    raise MissingExtra("paramiko", "ssh") from None

# Without a handler of its own, paramiko's tracebacks reach the user's terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# paramiko is named here so that every module of this folder gets it, or MissingExtra, in one place.
__all__ = ["connect", "host_key", "negotiated", "paramiko"]

CONNECT_TIMEOUT_S = 15.0
LINK_TIMEOUT_S = 15.0
KEEPALIVE_S = 5

# CBC is what the Terrapin attack (CVE-2023-48795) needed in paramiko; MD5 and SHA-1 are broken as hashes.
_WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
}
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


def connect(address: SshAddress, *, key: Path, known_hosts: Path) -> paramiko.Transport:
    """An authenticated connection to `address`.

    Errors: SecurityError when the board's key is unknown or another one; ConnectError when there is no connection or
    the board refuses `key`; InputError when `key` cannot be used.
    """
    if address.user is None:
        raise InputError(f"{address.url}: names no account, expected ssh://USER@{address.name}")
    private = _private_key(key)
    known = read_known_hosts(known_hosts).get(address.entry, [])
    transport = negotiated(address, known)
    try:
        _check_identity(address, host_key(transport), known)
        left = transport.auth_publickey(address.user, private)
    except SecurityError:
        transport.close()
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise _auth_error(address, key, error) from None
    if left:
        transport.close()
        raise ConnectError(f"{address.name}: asks for more than a key ({', '.join(left)}), which edgekd never answers")
    transport.set_keepalive(KEEPALIVE_S)
    return transport


def negotiated(address: SshAddress, known: list[HostKey]) -> paramiko.Transport:
    """An encrypted, not yet authenticated connection; the server is asked for a key of a kind in `known`."""
    wire = _open_socket(address)
    transport = paramiko.Transport(wire, disabled_algorithms=_WEAK)
    transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = CONNECT_TIMEOUT_S
    transport.channel_timeout = CONNECT_TIMEOUT_S
    if known:
        options = transport.get_security_options()
        options.key_types = tuple(name for key in known for name in _signatures(key.kind))
    try:
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        transport.get_remote_server_key()
    except paramiko.SSHException as error:
        transport.close()
        said = printable(str(error), 200)
        if known and "host key" in said:
            raise SecurityError(
                f"{address.url}: has no host key of the kind trusted for it. {_how_to_trust(address)}"
            ) from None
        raise ConnectError(f"{address.url}: no SSH connection could be agreed on ({said})") from None
    except (EOFError, OSError):
        transport.close()
        raise ConnectError(f"{address.url}: closed the connection at once. Is this really an SSH server?") from None
    return transport


def host_key(transport: paramiko.Transport) -> HostKey:
    """The key by which the other side identified itself."""
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _signatures(kind: str) -> tuple[str, ...]:
    return _RSA_SIGNATURES if kind == "ssh-rsa" else (kind,)


def _check_identity(address: SshAddress, found: HostKey, known: list[HostKey]) -> None:
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
        wire = socket.create_connection((address.host, address.port), timeout=CONNECT_TIMEOUT_S)
    except socket.gaierror:
        raise ConnectError(f"{address.url}: no such host name. Check the spelling and the network") from None
    except ConnectionRefusedError:
        raise ConnectError(f"{address.url}: nothing listens on port {address.port}. Is sshd running there?") from None
    except TimeoutError:
        raise ConnectError(f"{address.url}: no answer within {CONNECT_TIMEOUT_S:.0f} s. Is the board on?") from None
    except OSError as error:
        raise ConnectError(f"{address.url}: cannot be reached ({error.strerror or error})") from None
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


def _private_key(path: Path) -> paramiko.PKey:
    read_bytes(path, max_bytes=1 << 20)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecurityError(f"{path}: others may read this private key. Run: chmod 600 {path}")
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.PasswordRequiredException, TypeError):
        raise InputError(
            f"{path}: is protected by a passphrase, which edgekd never asks for. "
            "Make a key of its own for the board: ssh-keygen -t ed25519 -N '' -f FILE"
        ) from None
    except (paramiko.SSHException, UnknownKeyType, ValueError, OSError):
        raise InputError(
            f"{path}: is not a private key edgekd can use, expected Ed25519, ECDSA or RSA in OpenSSH format"
        ) from None


def _auth_error(address: SshAddress, key: Path, error: Exception) -> ConnectError:
    if isinstance(error, paramiko.AuthenticationException):
        return ConnectError(
            f"{address.name}: does not accept the key {key}. "
            f"Add its public part to ~{address.user}/.ssh/authorized_keys on the board"
        )
    return ConnectError(f"{address.name}: the connection ended while logging in ({printable(str(error), 200)})")
