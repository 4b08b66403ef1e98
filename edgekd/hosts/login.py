"""Proving who we are to a server whose own key was checked: one key file, the agent or a password, each only if named.

Nothing is looked for: no keys in the home, no agent unasked. Questions that a server may ask (keyboard-interactive) are
never answered, and nothing is forwarded.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekd.errors import ConnectError, InputError, SecurityError
from edgekd.files import read_bytes
from edgekd.hosts.link import BROKEN, NONSENSE, paramiko
from edgekd.hosts.target import Hop
from edgekd.text import listing, printable

# A server ends the connection after six refused keys (MaxAuthTries of sshd_config).
MOST_AGENT_KEYS = 5

Prepared = Sequence[paramiko.PKey] | str


@contextlib.contextmanager
def prepared(hop: Hop) -> Iterator[Prepared]:
    """The keys of `hop`'s login, or its password, before anything is sent. Errors: InputError, SecurityError."""
    address = hop.address
    if address.user is None:
        raise InputError(f"{address.url}: names no account, expected ssh://USER@{address.name}")
    login = hop.login.checked(address.name)
    if login.password is not None:
        yield login.password.value()
    elif login.agent:
        with _agent_keys(address.name) as keys:
            yield keys
    elif login.key is not None:
        yield [_private_key(login.key)]


def authenticate(transport: paramiko.Transport, hop: Hop, login: Prepared) -> None:
    """Log in to the server at the other end of `transport`. Errors: ConnectError, in which no secret stands."""
    address = hop.address
    user = address.user or ""
    try:
        if isinstance(login, str):
            left = transport.auth_password(user, login, fallback=False)
        else:
            left = _by_keys(transport, user, login)
    except paramiko.AuthenticationException:
        raise ConnectError(f"{address.name}: {_refused(hop)}") from None
    except (*BROKEN, *NONSENSE) as error:
        said = printable(str(error), 200)
        raise ConnectError(f"{address.name}: the connection ended while logging in ({said})") from None
    if left:
        asked = listing(printable(str(word), 40) for word in left)
        raise ConnectError(f"{address.name}: asks for more than one proof ({asked}), which edgekd never answers")


def _by_keys(transport: paramiko.Transport, user: str, keys: Sequence[paramiko.PKey]) -> list[str]:
    for key in keys[:-1]:
        try:
            return transport.auth_publickey(user, key)
        except paramiko.BadAuthenticationType:
            raise
        except paramiko.AuthenticationException:
            continue
    return transport.auth_publickey(user, keys[-1])


def _refused(hop: Hop) -> str:
    user = hop.address.user
    if hop.login.password is not None:
        return f"does not accept the password in {hop.login.password.reference} for {user}, or accepts none at all"
    if hop.login.agent:
        return f"does not accept any key of the SSH agent for {user}. See what it holds: ssh-add -l"
    return f"does not accept the key {hop.login.key}. Add its public part to ~{user}/.ssh/authorized_keys on the board"


@contextlib.contextmanager
def _agent_keys(name: str) -> Iterator[list[paramiko.PKey]]:
    try:
        agent = paramiko.Agent()
    except BROKEN as error:
        raise InputError(f"{name}: the SSH agent cannot be asked ({printable(str(error), 200)})") from None
    with contextlib.closing(agent):
        keys: list[paramiko.PKey] = list(agent.get_keys())
        _require_some(name, keys)
        yield keys


def _require_some(name: str, keys: Sequence[paramiko.PKey]) -> None:
    if not keys:
        raise InputError(f"{name}: the SSH agent holds no key, or none runs. Start it, then: ssh-add FILE")
    if len(keys) > MOST_AGENT_KEYS:
        raise InputError(
            f"{name}: the SSH agent holds {len(keys)} keys, more than the {MOST_AGENT_KEYS} a server lets one try. "
            "Name the one to use: key: FILE"
        )


def _private_key(path: Path) -> paramiko.PKey:
    from paramiko.pkey import UnknownKeyType

    read_bytes(path, max_bytes=1 << 20)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecurityError(f"{path}: others may read this private key. Run: chmod 600 {path}")
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.PasswordRequiredException, TypeError):
        raise InputError(
            f"{path}: is protected by a passphrase, which edgekd never asks for. Unlock it in an SSH agent and say "
            "agent: true in hosts.yaml, or make a key for the board: ssh-keygen -t ed25519 -N '' -f FILE"
        ) from None
    except (paramiko.SSHException, UnknownKeyType, ValueError, OSError):
        raise InputError(
            f"{path}: is not a private key edgekd can use, expected Ed25519, ECDSA or RSA in OpenSSH format"
        ) from None
