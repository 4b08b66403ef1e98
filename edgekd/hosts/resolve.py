"""From what the user wrote after --host to boards: a URL, a name or group of hosts.yaml, or several with commas."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgekd.errors import InputError
from edgekd.hosts.grammar import SshAddress, ssh_address_from_url
from edgekd.hosts.inventory import Entry, Inventory, Jump, inventory_path, read_inventory
from edgekd.hosts.known_hosts import known_hosts_path
from edgekd.hosts.secret import Secret
from edgekd.hosts.target import Hop, Login, Target
from edgekd.text import did_you_mean, listing, printable

# 'user:password@', wherever it stands: a URL of another kind, or one with a slip of the pen, holds no less of a secret.
_CREDENTIALS = re.compile(r"(?:^|[/,\s])[^/,\s:@]*:[^/,\s@]+@")
_FORM = "expected 'local', ssh://USER@HOST:PORT, adb:SERIAL, or a name of hosts.yaml"


def is_url(text: str) -> bool:
    """Whether `text` says itself where the board is, so that no hosts.yaml is needed."""
    return text == "local" or "://" in text or text.startswith("adb:")


def target_from_text(
    text: str,
    *,
    hosts: Path | None = None,
    key: Path | None = None,
    known_hosts: Path | None = None,
    python: str | None = None,
) -> Target:
    """The one board that `text` names; `key`, `known_hosts` and `python` go before what hosts.yaml says of it.

    Errors: InputError for several boards or an unknown name; SecurityError and HostsError for hosts.yaml.
    """
    found = targets_from_text(text, hosts=hosts, key=key, known_hosts=known_hosts, python=python)
    if len(found) != 1:
        names = listing(target.name for target in found)
        raise InputError(f"found the hosts {names}, expected one of them: this command works on one board at a time")
    return found[0]


def targets_from_text(
    text: str,
    *,
    hosts: Path | None = None,
    key: Path | None = None,
    known_hosts: Path | None = None,
    python: str | None = None,
) -> list[Target]:
    """The boards that `text` names, in that order: URLs, names and groups, with commas between them.

    Errors: as target_from_text; InputError, too, for a board that is named twice.
    """
    if _CREDENTIALS.search(text):
        raise InputError("found a password in the host's URL, which would end up in logs. Use a key file: --key FILE")
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise InputError(f"found the host {printable(repr(text), 120)}, {_FORM}")
    found: list[Target] = []
    inventory: Inventory | None = None
    path = hosts or inventory_path()
    for word in words:
        if is_url(word):
            found.append(Target(word, word))
            continue
        if inventory is None:
            inventory = _inventory(path, word, named=hosts is not None)
        found += _named(word, inventory, path)
    _refuse_twice(found)
    return [_with_flags(target, key, known_hosts, python) for target in found]


def _inventory(path: Path, word: str, *, named: bool) -> Inventory:
    if not named and not path.exists():
        raise InputError(f"found the host {printable(repr(word), 120)}, {_FORM}; there is no {path}")
    return read_inventory(path)


def _named(word: str, inventory: Inventory, path: Path) -> list[Target]:
    if word in inventory.groups:
        return [_target(name, inventory.hosts[name], path.parent) for name in inventory.groups[word]]
    entry = inventory.hosts.get(word)
    if entry is None:
        known = [*inventory.hosts, *inventory.groups]
        raise InputError(
            f"found the host {printable(repr(word), 120)}, {_FORM}; {path} has {listing(known) or 'none'}."
            f"{did_you_mean(word, known)}"
        )
    return [_target(word, entry, path.parent)]


def _target(name: str, entry: Entry, base: Path) -> Target:
    known = _located(entry.known_hosts, base)
    return Target(
        name=name,
        url=entry.url,
        login=_login(entry, base),
        known_hosts=known,
        python=entry.python,
        workspace=entry.workspace,
        jump=tuple(_hop(jump, known, base) for jump in entry.jump),
        device=_device(entry.device, base),
    )


def _hop(jump: Jump, known: Path | None, base: Path) -> Hop:
    trusted = _located(jump.known_hosts, base) or known or known_hosts_path()
    return Hop(ssh_address_from_url(jump.url), _login(jump, base), trusted)


def _login(one: Entry | Jump, base: Path) -> Login:
    secret = None if one.password is None else Secret(one.password, base)
    return Login(_located(one.key, base), one.agent, secret)


def _device(name: str | None, base: Path) -> str | None:
    """A profile's name as it is, and a file from the folder of hosts.yaml, as load_profile tells them apart."""
    if name is None or not ("/" in name or name.endswith((".yaml", ".yml"))):
        return name
    return str(_located(name, base))


def _located(path: str | None, base: Path) -> Path | None:
    return None if path is None else base / Path(path).expanduser()


def _with_flags(target: Target, key: Path | None, known_hosts: Path | None, python: str | None) -> Target:
    return replace(
        target,
        login=target.login if key is None else Login(key),
        known_hosts=known_hosts or target.known_hosts,
        python=python or target.python,
    )


def _refuse_twice(found: list[Target]) -> None:
    """Two measurements on one board at once would disturb each other. Errors: InputError."""
    seen: dict[object, Target] = {}
    for target in found:
        place = (_place(target), tuple(hop.address for hop in target.jump))
        if place in seen:
            raise InputError(f"the hosts {seen[place].name} and {target.name} are one board. Name it once")
        seen[place] = target


def _place(target: Target) -> str | tuple[str, int]:
    if not target.url.startswith("ssh://"):
        return target.url
    address: SshAddress = ssh_address_from_url(target.url)
    return (address.host, address.port)
