"""Texts without the differences that no reader sees as another text: what counts as the same input."""

from __future__ import annotations

import unicodedata


class _Kept(dict[int, str]):
    """What each character becomes, looked up by its code point and worked out once."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _kept(chr(code))
        return found


def _kept(char: str) -> str:
    kind = unicodedata.category(char)
    if kind == "Cf":  # invisible: joiners, soft hyphens, marks of direction
        return ""
    # Sk are accents that stand alone, such as the backtick that some corpora write for an opening quote.
    return " " if kind[0] in "PZ" or kind in ("Cc", "Sk") else char


_KEPT = _Kept()


def normalised(text: str) -> str:
    """`text` without differences of case, character width, white space and punctuation; "" where nothing is visible.

    Runs of spaces and punctuation count as one space. A text of punctuation alone, such as ":)", keeps it. Signs with a
    meaning of their own (+, $, emoji) stay, and so do accents.
    Source: Unicode Standard Annex 15 (the form NFKC), Unicode Standard section 3.13 (case folding).
    """
    folded = _composed(_composed(text).casefold())
    words = _composed(folded.translate(_KEPT)).split()
    return " ".join(words or _visible(folded).split())


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _visible(text: str) -> str:
    return "".join(char for char in text if char.isspace() or unicodedata.category(char) not in ("Cf", "Cc"))
