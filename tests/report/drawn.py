"""Is a figure one that plotly draws? Its own validators know."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go


def coloured(value: Any) -> Any:
    """`value` with colours in place of their names, as the page's script does it."""
    if isinstance(value, dict):
        return {
            key: "#123456" if key.endswith("color") and isinstance(item, str) and item[:1] == "@" else coloured(item)
            for key, item in value.items()
        }
    return [coloured(item) for item in value] if isinstance(value, list) else value


def check(figure: dict[str, Any]) -> Any:
    """The figure as plotly understands it. Errors: ValueError for an attribute it does not know."""
    assert set(figure) == {"data", "layout"}
    return go.Figure(coloured(figure))
