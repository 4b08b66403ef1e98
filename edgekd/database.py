"""How a recipe names a database: never with its password, for recipes are copied into run folders and shown."""

from __future__ import annotations

import re

SCHEMES = ("postgresql", "postgresql+psycopg")

_WANTED = "expected a journal file, or a URL postgresql://USER@HOST/DATABASE"


def checked_storage(text: str) -> str:
    """`text` if it names a file, a database without its password, or env:NAME or file:PATH, where its URL stands.

    Errors: ValueError, which never repeats `text`.
    """
    kind, _, rest = text.partition(":")
    if kind in ("env", "file"):
        if not rest or (kind == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest)):
            raise ValueError("expected env:NAME with the name of a variable, or file:PATH with that of a file")
        return text
    scheme, separator, place = text.partition("://")
    if (separator and scheme not in SCHEMES) or (not separator and "@" in text):
        raise ValueError(_WANTED)
    if separator and (":" in place.rpartition("@")[0] or "password=" in place):
        raise ValueError(
            "found a password in the URL, which would end up in files. Put the URL into an environment variable or a "
            "file, and name that: env:NAME or file:PATH"
        )
    return text
