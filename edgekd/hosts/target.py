"""Where a board is and how it is reached, before anything is opened: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import InputError
from edgekd.hosts.grammar import SshAddress
from edgekd.hosts.secret import Secret


@dataclass(frozen=True, slots=True)
class Login:
    """How an account proves itself: by one key file, by the running agent, or by a password kept elsewhere."""

    key: Path | None = None
    agent: bool = False
    password: Secret | None = None

    def checked(self, name: str) -> Login:
        """This login, when it names exactly one way. Errors: InputError for none or several, with `name`."""
        ways = [way for way, there in (("key", self.key), ("agent", self.agent), ("password", self.password)) if there]
        if len(ways) > 1:
            raise InputError(f"{name}: found {' and '.join(ways)}, expected one way to log in. Keep one of them")
        if not ways:
            raise InputError(
                f"{name}: no key file was named. Name the one to use: --key ~/.ssh/id_ed25519, or key in hosts.yaml"
            )
        return self


@dataclass(frozen=True, slots=True)
class Hop:
    """One SSH server on the way to a board, or the board itself, with its own login and its own trusted keys."""

    address: SshAddress
    login: Login
    known_hosts: Path


@dataclass(frozen=True, slots=True)
class Target:
    """One board as the user named it. `url` is local, ssh://… or adb:…; `jump` the servers on the way, nearest first.

    `workspace`, `python` and `known_hosts` are None where the usual one is meant; `device` names its profile.
    """

    name: str
    url: str
    login: Login = Login()
    known_hosts: Path | None = None
    python: str | None = None
    workspace: str | None = None
    jump: tuple[Hop, ...] = ()
    device: str | None = None
