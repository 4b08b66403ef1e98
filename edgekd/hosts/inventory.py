"""hosts.yaml: the user's own boards by name, with how to reach them. Never committed, and it holds no secret.

Who can write this file can send the user's models and keys to a board of his choice, so it must be the user's alone. A
secret stands in it by reference only, and is looked for before anything else, so that no error message repeats one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, model_validator

from edgekd.config import MAX_DEPTH, MAX_YAML_BYTES, Model, source_from_text, validated
from edgekd.errors import HostsError, InputError, SecurityError
from edgekd.files import open_or_fail
from edgekd.hosts.grammar import (
    adb_serial_from_url,
    checked_host_name,
    checked_program,
    checked_workspace,
    ssh_address_from_url,
)
from edgekd.hosts.grammar import holds_password as url_with_password
from edgekd.hosts.secret import is_reference
from edgekd.text import did_you_mean, listing, printable

ENVIRONMENT = "EDGEKD_HOSTS"
MOST_HOPS = 8

_SECRET_KEY = re.compile(
    r"(?i)(^|[_.-])(pass(word|wd|phrase)?|pw|pin|secret|token|api_?key|private_?key|credentials?)s?$"
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
# 'key: value' on one line, without quotes and comment.
_LINE = re.compile(
    r"""^[\s{,-]*["']?(?P<key>[A-Za-z0-9_.-]+)["']?\s*:\s+["']?(?P<value>[^"'#\s{\[|>][^"'#]*?)["']?\s*(#.*)?$"""
)
_URL_WITH_PASSWORD = re.compile(r"""://[^/\s"',]*:[^/\s"',]*@""")
_WAY_OUT = "expected a reference: env:NAME or file:PATH. Remove it from the file, and change it where it was in use"


def _as_value_error(check: Any) -> AfterValidator:
    def run(value: str) -> str:
        try:
            check(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(run)


def _checked_url(url: str) -> str:
    if url.startswith("adb:"):
        adb_serial_from_url(url)
    elif url.startswith("ssh://"):
        ssh_address_from_url(url)
    elif url != "local":
        found = printable(repr(url), 120)
        raise InputError(f"found the host {found}, expected ssh://USER@HOST:PORT, adb:SERIAL or local")
    return url


def _checked_file(path: str) -> str:
    if not path or any(ord(char) < 0x20 for char in path):
        raise InputError(f"found {printable(repr(path), 120)}, expected the path of a file")
    return path


def _checked_reference(text: str) -> str:
    if not is_reference(text):
        raise InputError("found a password in plain words, expected env:NAME or file:PATH")
    return text


File = Annotated[str, _as_value_error(_checked_file)]
Name = Annotated[str, _as_value_error(checked_host_name)]
Reference = Annotated[str, _as_value_error(_checked_reference)]


class Jump(Model):
    """An SSH server on the way to a board, with its own key. `known_hosts` is that of the board when absent."""

    url: Annotated[str, _as_value_error(ssh_address_from_url)]
    key: File | None = None
    agent: bool = False
    password: Reference | None = None
    known_hosts: File | None = None


class Entry(Model):
    """A board: `url` is ssh://USER@HOST:PORT, adb:SERIAL or local; relative paths start from the folder of hosts.yaml.

    One of `key` (a private key file), `agent` (the running SSH agent) and `password` (env:NAME or file:PATH) logs in.
    `python` is the interpreter there, `workspace` our folder there, `device` the profile of that kind of board.
    """

    url: Annotated[str, _as_value_error(_checked_url)]
    key: File | None = None
    agent: bool = False
    password: Reference | None = None
    known_hosts: File | None = None
    python: Annotated[str, _as_value_error(checked_program)] | None = None
    workspace: Annotated[str, _as_value_error(checked_workspace)] | None = None
    jump: Annotated[list[Jump], Field(max_length=MOST_HOPS, default_factory=list)]
    device: str | None = None

    @model_validator(mode="after")
    def _one_login(self) -> Entry:
        if not self.url.startswith("ssh://"):
            found = [name for name in ("key", "agent", "password", "known_hosts", "jump") if getattr(self, name)]
            if found:
                raise ValueError(f"found {listing(found)} beside {self.url}, expected them with ssh:// alone")
        _require_one_way(self)
        for jump in self.jump:
            _require_one_way(jump)
        return self


def _require_one_way(one: Entry | Jump) -> None:
    ways = [name for name in ("key", "agent", "password") if getattr(one, name)]
    if len(ways) > 1:
        raise ValueError(f"found {listing(ways)} for {one.url}, expected one way to log in")


class Inventory(Model):
    """hosts.yaml: `hosts`, boards by name, and `groups`, lists of such names by name."""

    hosts: dict[Name, Entry]
    groups: dict[Name, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)


def inventory_path() -> Path:
    """Where hosts.yaml stands unless told otherwise: $EDGEKD_HOSTS, or in the user's configuration folder."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named).expanduser() if named else Path.home() / ".config" / "edgekd" / "hosts.yaml"


def read_inventory(path: Path) -> Inventory:
    """The hosts.yaml at `path`.

    Errors: SecurityError when others may write it, or a secret stands in it; InputError when unreadable; HostsError,
    with the line, for what is wrong in it.
    """
    with open_or_fail(path) as stream:
        _require_own(path, os.fstat(stream.fileno()))
        data: bytes = stream.read(MAX_YAML_BYTES + 1)
    if len(data) > MAX_YAML_BYTES:
        raise InputError(f"{path}: longer than {MAX_YAML_BYTES} bytes, which no file of this kind should be")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HostsError(f"{path}: is not UTF-8 text, expected YAML") from None
    return inventory_from_text(text, str(path))


def inventory_from_text(text: str, name: str) -> Inventory:
    """The hosts.yaml in `text`, with `name` for its errors. Errors: as read_inventory."""
    _refuse_secrets(text, name)
    source = source_from_text(text, name, HostsError)
    found = validated(source, Inventory, HostsError)
    for group, members in found.groups.items():
        wrong = _wrong_group(group, members, found.hosts)
        if wrong:
            raise HostsError(f"{source.place(('groups', group))}: {wrong}")
    return found


def _wrong_group(group: str, members: Sequence[str], hosts: Collection[str]) -> str | None:
    """What is wrong with a group, beside its form; None for nothing."""
    if group in hosts:
        return f"the group {group!r} is called like a host. Rename one of them"
    for member in members:
        if member not in hosts:
            found, hint = printable(repr(member), 80), did_you_mean(member, hosts)
            return f"the group {group!r} names the host {found}, which is not in hosts.{hint}"
    return f"the group {group!r} names a host twice" if len(set(members)) != len(members) else None


def _require_own(path: Path, facts: os.stat_result) -> None:
    if facts.st_uid != os.geteuid():
        raise SecurityError(
            f"{path}: belongs to the user number {facts.st_uid}, not to you, who could send you to a board of his "
            "choice. Make a copy of your own, or name another with --hosts"
        )
    if stat.S_IMODE(facts.st_mode) & 0o022:
        raise SecurityError(f"{path}: others may write it, and so choose where you connect. Run: chmod go-w {path}")


def _refuse_secrets(text: str, name: str) -> None:
    """No secret stands anywhere in `text`, in comments neither. Errors: SecurityError with the line, not the secret."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _PEM.search(line):
            raise SecurityError(
                f"{name}:{number}: found a private key itself, expected the path of its file: key: PATH"
            )
        # By lines first, since a secret such as '!word' or '%word' is no value to YAML, and its messages would show it.
        if _URL_WITH_PASSWORD.search(line):
            raise SecurityError(f"{name}:{number}: found a password inside a URL, {_WAY_OUT}")
        match = _LINE.match(line)
        if match:
            _refuse_secret(match["key"], match["value"], f"{name}:{number}")
    try:
        if not _has_an_end(text):
            return  # which the strict loader refuses
        for key, node in _scalars(yaml.compose(text, Loader=yaml.SafeLoader), None):
            _refuse_secret(key, node.value, f"{name}:{node.start_mark.line + 1}")
    except (yaml.YAMLError, RecursionError, ValueError):
        return  # which the strict loader refuses, with the line


def _refuse_secret(key: str | None, value: str, place: str) -> None:
    if url_with_password(value):
        raise SecurityError(f"{place}: found a password inside a URL, {_WAY_OUT}")
    if key is not None and _SECRET_KEY.search(key) and value and not is_reference(value):
        raise SecurityError(f"{place}: found a secret in plain words at {printable(key, 40)!r}, {_WAY_OUT}")


def _has_an_end(text: str) -> bool:
    """Whether the nodes in `text` can be walked: none holds itself, and none lies too deep to be one of ours."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH + 1:
            return False
    return True


def _scalars(node: Any, key: str | None) -> Iterator[tuple[str | None, Any]]:
    """Every scalar at or below `node`, with the key that it stands under; one that speaks of a secret counts deeper."""
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item, key)
    elif isinstance(node, yaml.MappingNode):
        for word, value in node.value:
            yield from _scalars(word, None)
            inner = word.value if isinstance(word, yaml.ScalarNode) else None
            yield from _scalars(value, key if key is not None and _SECRET_KEY.search(key) else inner)
