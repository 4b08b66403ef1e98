"""A page taken apart: its elements, its text, its figures."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """What a browser would see in `text`."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif not self._open or self._open[-1] != "style":
            self.text.append(data)

    @property
    def said(self) -> str:
        """All text of the page on one line."""
        return " ".join(" ".join(self.text).split())

    @property
    def shapes(self) -> set[tuple[str, tuple[str, ...]]]:
        """Every kind of element with the names of its attributes."""
        return {(tag, tuple(sorted(attributes))) for tag, attributes in self.elements}

    @property
    def figures(self) -> dict[str, Any]:
        """Every figure by the id of its block."""
        blocks = [(a, text) for a, text in self.scripts if a.get("type") == "application/json"]
        return {str(attributes["id"]): json.loads(text) for attributes, text in blocks}

    @property
    def code(self) -> list[str]:
        """What would run."""
        return [text for attributes, text in self.scripts if "type" not in attributes]


def strings_of(value: Any) -> list[str]:
    """Every string inside a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings_of(item)]
    return [text for item in value for text in strings_of(item)] if isinstance(value, list) else []
