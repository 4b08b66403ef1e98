"""HTML that cannot be broken by what stands in a file: every string is escaped unless this module made it.

Names, notes and warnings come from files that anyone may have written, and from boards. They reach the page only as
text of an element, as the value of an attribute, or inside JSON that no browser runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgekd.text import printable

MOST_TEXT = 50_000
_VOID = ("meta", "br", "col")
_JSON_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True, slots=True)
class Html:
    """A finished piece of the page. Make one with the functions of this module only."""

    text: str


Child = Html | str | None | Iterable["Child"]


def escaped(text: str) -> str:
    """`text` for a place where markup would be read: nothing in it is a tag, an entity or a control character."""
    return html.escape(printable(text, MOST_TEXT), quote=True)


def join(*children: Child) -> Html:
    """The children one after the other; strings are escaped, None is nothing."""
    return Html("".join(_pieces(children)))


def _pieces(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            yield child.text
        elif isinstance(child, str):
            yield escaped(child)
        else:
            yield from _pieces(child)


def element(tag: str, *children: Child, **attributes: str | None) -> Html:
    """<tag attributes>children</tag>; `class_` and `data_label` become class and data-label, None is left out."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    opened = f"<{tag}{said}>"
    return Html(opened if tag in _VOID else f"{opened}{join(*children).text}</{tag}>")


def json_block(value: Any, identifier: str) -> Html:
    """`value` as JSON in a script element that no browser runs; nothing inside can end the element.

    Errors: ValueError for NaN or infinity.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":")).translate(_JSON_ESCAPES)
    return Html(f'<script type="application/json" id="{escaped(identifier)}">{text}</script>')


def own_script(code: str) -> tuple[Html, str]:
    """`code`, which must be ours or plotly's, as a script element, and the hash that lets a page's policy allow it."""
    # Inside a script these two would change how the rest is read; in JavaScript the escapes mean the same.
    safe = code.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(safe.encode()).digest()).decode()
    return Html(f"<script>{safe}</script>"), f"'sha256-{digest}'"


def own_style(rules: str) -> Html:
    """`rules`, which must be ours, as a style element."""
    return Html(f"<style>{rules}</style>")


def page(title: str, head: Child, body: Child) -> str:
    """The whole document."""
    whole = join(
        Html('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'),
        head,
        element("title", title),
        Html("\n</head>\n<body>\n"),
        body,
        Html("\n</body>\n</html>\n"),
    )
    return whole.text


def rows_of(cells: Iterable[Iterable[Child]], tag: str = "td") -> list[Html]:
    """Table rows from cells; a cell that is an Html td or th already stays as it is."""
    return [element("tr", [_cell(cell, tag) for cell in row]) for row in cells]


def _cell(cell: Child, tag: str) -> Html:
    if isinstance(cell, Html) and cell.text.startswith(("<td", "<th")):
        return cell
    return element(tag, cell)
