"""Small things about text: what is safe to print, and what the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_BIDI = {0x061C, *range(0x200B, 0x2010), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF}


def printable(text: str, limit: int = 2000) -> str:
    """`text` with every control, bidi and line-separator character made visible, at most `limit` characters.

    Newline and tab stay. Nothing a board or a file says can move the cursor, colour the terminal or reorder a line.
    """
    out = []
    for char in text[:limit]:
        code = ord(char)
        if char in "\n\t":
            out.append(char)
        elif code < 0x20 or 0x7F <= code <= 0x9F:
            out.append(f"\\x{code:02x}")
        elif code in _BIDI or 0xD800 <= code <= 0xDFFF:
            out.append("\ufffd")
        else:
            out.append(char)
    return "".join(out) + ("…" if len(text) > limit else "")


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """' Did you mean X?' for the closest of `options`, or an empty string when none is close."""
    close = difflib.get_close_matches(word, sorted(options), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def listing(words: Iterable[str], limit: int = 12) -> str:
    """'a, b, c' in sorted order, cut after `limit` words with the number left out."""
    ordered = sorted(words)
    rest = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {rest} more" if rest > 0 else "")
