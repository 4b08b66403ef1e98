"""A secret named by where it stands: `env:NAME` or `file:PATH`. It is fetched where it is used, and never shown."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import InputError, SecurityError
from edgekd.files import read_bytes

MAX_SECRET_BYTES = 4096

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_FILE = re.compile(r"file:[^\x00-\x1f]+")
_FORM = "expected a reference, env:NAME or file:PATH"


def is_reference(text: str) -> bool:
    """Whether `text` names a place of a secret, and so holds none."""
    return _ENV.fullmatch(text) is not None or _FILE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Secret:
    """The place of a secret; `base` is the folder that a relative path starts from."""

    reference: str
    base: Path

    def __post_init__(self) -> None:
        if not is_reference(self.reference):
            raise InputError(f"found a secret in plain words, {_FORM}")

    def value(self) -> str:
        """The secret itself, for the one call that needs it.

        Errors: InputError when it is absent, empty or no text; SecurityError when others may read its file.
        """
        kind, _, place = self.reference.partition(":")
        if kind == "env":
            found = os.environ.get(place, "")
            if not found:
                raise InputError(f"{self.reference}: this variable is not set or empty. Set it: export {place}=…")
            return found
        return self._from_file(self.base / Path(place).expanduser())

    def _from_file(self, path: Path) -> str:
        data = read_bytes(path, max_bytes=MAX_SECRET_BYTES)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SecurityError(f"{path}: others may read this secret. Run: chmod 600 {path}")
        try:
            found = data.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            found = ""
        if not found or "\n" in found:
            raise InputError(f"{path}: expected one line of text, the secret and nothing else")
        return found
