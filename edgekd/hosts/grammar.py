"""What may be sent to a host: addresses, paths and argument lists, checked before anything leaves this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.errors import InputError
from edgekd.text import printable

DEFAULT_SSH_PORT = 22

_URL = re.compile(r"ssh://(?:(?P<user>[^@/]*)@)?(?P<host>\[[^\]@/]*\]|[^:/@\[\]]*)(?::(?P<port>[0-9]{1,5}))?/?")
# Labels as in RFC 1123, with underscores: what is longer or empty cannot be looked up, and Python refuses to try.
_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,32}")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PROGRAM = re.compile(r"[A-Za-z0-9_./+][A-Za-z0-9_./+-]{0,254}")
_PASSWORD = re.compile(r"://[^/]*:[^/]*@")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_NAME = re.compile(r"(?!-)[A-Za-z0-9._-]{1,255}")
_FORM = "expected ssh://USER@HOST:PORT, such as ssh://pi@raspberrypi.local:22"


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Where an SSH server listens, and for which account."""

    host: str
    port: int
    user: str | None = None

    @property
    def entry(self) -> str:
        """'[host]:port', its name in the known-hosts file; always with the port, so that matches are exact."""
        return f"[{self.host}]:{self.port}"

    @property
    def url(self) -> str:
        """'ssh://host:port' without the account."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{host}:{self.port}"

    @property
    def name(self) -> str:
        """'user@host:port'."""
        short = self.url.removeprefix("ssh://")
        return f"{self.user}@{short}" if self.user else short


def ssh_address_from_url(url: str) -> SshAddress:
    """The address in 'ssh://user@host:port'; user and port may be left out. Errors: InputError with the form."""
    if holds_password(url):
        raise InputError("found a password in the host's URL, which would end up in logs. Use a key file: --key FILE")
    match = _URL.fullmatch(url)
    shown = printable(repr(url), 120)
    if match is None:
        raise InputError(f"found the host {shown}, {_FORM}")
    user, host = match["user"], match["host"]
    if user is not None and _USER.fullmatch(user) is None:
        raise InputError(f"found the account {printable(repr(user), 60)} in the host {shown}, {_FORM}")
    port = int(match["port"] or DEFAULT_SSH_PORT)
    if not 0 < port < 65536:
        raise InputError(f"found the port {port} in the host {shown}, expected 1 to 65535")
    return SshAddress(_checked_host(host, shown), port, user)


def _checked_host(host: str, shown: str) -> str:
    if host.startswith("["):
        # The zone of an address that counts on one network alone is the name of an interface, in its own case.
        literal, percent, zone = host.removeprefix("[").removesuffix("]").partition("%")
        with contextlib.suppress(ValueError):
            address = ipaddress.IPv6Address(literal)
            if not percent or _ZONE.fullmatch(zone):
                return f"{address}{percent}{zone}"
        raise InputError(f"found {shown}, expected an IPv6 address between the brackets; {_FORM}")
    host = host.lower()
    if _HOST.fullmatch(host) is None:
        raise InputError(f"found the host name {printable(repr(host), 80)} in {shown}, {_FORM}")
    return host


def holds_password(text: str) -> bool:
    """Whether `text` looks like a URL with a password in it, which no message may repeat."""
    return _PASSWORD.search(text) is not None


def adb_serial_from_url(url: str) -> str:
    """The serial number in 'adb:SERIAL', as `adb devices` shows it. Errors: InputError with the form."""
    serial = url.removeprefix("adb:")
    if _SERIAL.fullmatch(serial) is None:
        found = printable(repr(url), 120)
        raise InputError(f"found the host {found}, expected adb:SERIAL with a serial number that `adb devices` shows")
    return serial


def checked_host_name(name: str) -> str:
    """`name`, when a board or group of hosts.yaml may be called so. Errors: InputError."""
    if _HOST_NAME.fullmatch(name) is None or name == "local":
        raise InputError(
            f"found the name {printable(repr(name), 80)}, expected letters, digits, '.', '_' and '-', and not 'local'"
        )
    return name


def checked_program(word: str) -> str:
    """`word`, when it is the plain name or path of a program. Errors: InputError."""
    if _PROGRAM.fullmatch(word) is None:
        raise InputError(f"found the program {printable(repr(word), 120)}, expected a plain name or path")
    return word


def checked_path(remote: str) -> str:
    """`remote`, when it is a plain relative path inside the workspace. Errors: InputError."""
    parts = remote.split("/")
    if not all(_NAME.fullmatch(part) and part not in (".", "..") for part in parts):
        raise InputError(
            f"found the path {printable(repr(remote), 120)} for a host, "
            "expected a relative one of letters, digits, '.', '_' and '-' inside the workspace"
        )
    return remote


def checked_workspace(folder: str) -> str:
    """`folder`, relative to the home there or absolute, when it is a plain path. Errors: InputError."""
    checked_path(folder.removeprefix("/"))
    return folder


def checked_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """`argv` as a tuple that any host can run. Errors: InputError when empty or with a NUL inside."""
    words = tuple(argv)
    if not words or not words[0]:
        raise InputError("found an empty command for a host, expected a program and its arguments")
    if any("\0" in word for word in words):
        raise InputError("found a NUL character in a command for a host, which no program can receive")
    return words
