"""The host keys the user trusts: a file of our own in which every line is one exact '[host]:port' and one key.

OpenSSH's file allows patterns, negations, hashes and markers, and readers of it disagree on what those mean. Ours
allows none of them, so that a line either names the host or does not.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import SecurityError
from edgekd.files import make_folder, read_bytes, write_error, write_text
from edgekd.hosts.grammar import SshAddress
from edgekd.text import printable

MAX_KNOWN_HOSTS_BYTES = 1 << 20
# In the order of preference in which keys are asked for.
KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")

_ENTRY = re.compile(r"\[([A-Za-z0-9._:-]+)(%[A-Za-z0-9._-]{1,32})?\]:([0-9]{1,5})")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class HostKey:
    """The public key by which a host identifies itself."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """'SHA256:…', as ssh-keygen -l shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def known_hosts_path() -> Path:
    """Where the trusted host keys stand unless told otherwise."""
    return Path.home() / ".config" / "edgekd" / "known_hosts"


def is_fingerprint(text: str) -> bool:
    """Whether `text` is a whole SHA-256 fingerprint, so that nobody can trust a shortened one."""
    return _FINGERPRINT.fullmatch(text) is not None


def read_known_hosts(path: Path) -> dict[str, list[HostKey]]:
    """The keys in `path` by '[host]:port'; none when there is no such file.

    Errors: SecurityError when it is open to others, and for a line that is not exactly one host and one key.
    """
    if not path.exists():
        return {}
    text = read_bytes(path, max_bytes=MAX_KNOWN_HOSTS_BYTES).decode("utf-8", errors="replace")
    facts = path.stat()
    # A group may be a user's own, as on Debian, whose files it may then write; everybody is nobody's own.
    if facts.st_mode & stat.S_IWOTH:
        raise SecurityError(f"{path}: anybody may write it, and so choose whom you trust. Run: chmod go-w {path}")
    if facts.st_uid not in (os.geteuid(), 0):
        raise SecurityError(
            f"{path}: belongs to the user number {facts.st_uid}, who could choose whom you trust. Trust the board "
            "anew in a file of your own: edgekd devices trust, --known-hosts"
        )
    found: dict[str, list[HostKey]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            entry, key = _entry_from_line(line, f"{path}:{number}")
            found.setdefault(entry, []).append(key)
    return found


def write_known_host(path: Path, address: SshAddress, key: HostKey) -> None:
    """Trust `key`, and no other, for `address` in the file at `path`. Errors: as read_known_hosts."""
    with _alone(make_folder(path.parent)):
        known = {**read_known_hosts(path), address.entry: [key]}
        lines = [
            f"{entry} {key.kind} {base64.b64encode(key.blob).decode()}"
            for entry, keys in sorted(known.items())
            for key in keys
        ]
        write_text(
            path, "\n".join(["# Host keys edgekd trusts, one per line. Written by: edgekd devices trust", *lines, ""])
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else who asks changes files of `folder` meanwhile; a process that ends, however it does, frees it."""
    try:
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise write_error(folder, error) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _entry_from_line(line: str, place: str) -> tuple[str, HostKey]:
    words = line.split()
    host = words[0]
    if host.startswith("@"):
        raise SecurityError(f"{place}: found the marker {_shown(host)}, {_FORM}")
    if host.startswith("|"):
        raise SecurityError(f"{place}: found a hashed host name, {_FORM}")
    if any(char in host for char in "*?!,"):
        raise SecurityError(f"{place}: found the pattern or list {_shown(host)}, {_FORM}")
    entry = _ENTRY.fullmatch(host)
    if entry is None:
        raise SecurityError(f"{place}: found the host {_shown(host)}, {_FORM}")
    if len(words) < 3 or words[1] not in KEY_KINDS:
        raise SecurityError(f"{place}: found no key of a known kind ({', '.join(KEY_KINDS)}), {_FORM}")
    try:
        blob = base64.b64decode(words[2], validate=True)
    except binascii.Error:
        raise SecurityError(f"{place}: the key is damaged (not base64), {_FORM}") from None
    return f"[{entry[1].lower()}{entry[2] or ''}]:{entry[3]}", HostKey(words[1], blob)


def _shown(word: str) -> str:
    return printable(repr(word), 80)


_FORM = "expected '[HOST]:PORT KIND KEY'. Remove the line and run: edgekd devices trust ssh://HOST:PORT --fingerprint …"
