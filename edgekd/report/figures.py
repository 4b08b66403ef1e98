"""What all plots share: figures as plain JSON values for plotly.js, colours by name, axes in SI units.

A colour is written '@name' and looked up in the page's style sheet when it is drawn, so plots follow light and dark.
Text from files goes through `plot_text`, because plotly reads tags in labels.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from edgekd.report.markup import Html, element, join, json_block
from edgekd.student import numbers_of
from edgekd.text import printable
from edgekd.units import text_from_s

Figure = dict[str, Any]

TEACHER_COLOUR = "@teacher"
_PRECISION_COLOURS = {"fp32": "@plain", "fp16": "@plain", "int8": "@accent", "int4": "@accent"}
_PRECISION_SYMBOLS = {
    "fp32": "circle", "fp16": "square", "int8": "diamond", "int4": "triangle-up", "fp32-fused": "hexagon",
    "int8-fused": "star",
}  # fmt: skip


def plot_text(text: str, limit: int = 120) -> str:
    """`text` for a label or a hover box of plotly, which shows it as it is."""
    return html.escape(printable(text, limit), quote=False)


def hover(lines: Iterable[str | None]) -> str:
    """The lines of a hover box, None left out; each must be ours or have gone through `plot_text`."""
    return "<br>".join(line for line in lines if line is not None)


def colour_of(role: str, precision: str) -> str:
    """The colour of an artifact or candidate: grey for the teacher, the accent for int8."""
    return TEACHER_COLOUR if role == "teacher" else _PRECISION_COLOURS.get(numbers_of(precision), "@plain")


def symbol_of(precision: str) -> str:
    """The marker of a precision."""
    return _PRECISION_SYMBOLS.get(precision, "square")


def figure(traces: list[dict[str, Any]], *, height: int = 380, legend: bool = True, **layout: Any) -> Figure:
    """A figure of `traces`. `layout` holds axes, shapes and annotations."""
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "@ink"}
    table: dict[str, Any] = {
        "height": height,
        "paper_bgcolor": "@paper",
        "plot_bgcolor": "@paper",
        "font": font,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48, "pad": 2},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        "hoverlabel": {
            "bgcolor": "@surface", "bordercolor": "@line", "font": {"color": "@ink", "size": 12}, "align": "left",
        },
        "hovermode": "closest",
    }  # fmt: skip
    return {"data": traces, "layout": {**table, **layout}}


def axis(title: str, **settings: Any) -> dict[str, Any]:
    """An axis with thin lines."""
    table = {
        "title": {"text": title, "font": {"size": 12, "color": "@muted"}, "standoff": 8},
        "tickfont": {"size": 11, "color": "@muted"},
        "gridcolor": "@line",
        "linecolor": "@line",
        "zeroline": False,
        "automargin": True,
    }
    return {**table, **settings}


def latency_axis(title: str, values: Iterable[float], *, most: int = 9, **settings: Any) -> dict[str, Any]:
    """A logarithmic axis that shows all `values`, in seconds, with at most about `most` ticks such as 2 ms."""
    known = sorted(values)
    low, high = (known[0], known[-1]) if known else (_ANY_LATENCY_S, _ANY_LATENCY_S)
    margin = max(1.04, (high / low) ** 0.04)
    low, high = low / margin, high * margin
    ticks = ticks_between(low, high, most)
    table = {
        "type": "log", "range": [math.log10(low), math.log10(high)], "tickvals": ticks,
        "ticktext": [_tick_text(tick) for tick in ticks],
    }  # fmt: skip
    return axis(title, **{**table, **settings})


def ticks_between(low: float, high: float, most: int = 9) -> list[float]:
    """Up to `most` round values from `low` to `high`, apart enough on a logarithmic axis not to touch."""
    for steps in _STEPS:
        decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) >= 4:
            break
    apart = math.log(high / low) / most if high > low else 0.0
    kept: list[float] = []
    for tick in shown:
        if not kept or math.log(tick / kept[-1]) >= apart:
            kept.append(tick)
    return kept


def _tick_text(tick_s: float) -> str:
    number, space, unit = text_from_s(tick_s).partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + unit


_ANY_LATENCY_S = 1e-3
_STEPS = (
    ("1",), ("1", "3"), ("1", "2", "5"), ("1", "1.5", "2", "3", "5", "7"),
    ("1", "1.2", "1.4", "1.6", "1.8", "2", "2.5", "3", "3.5", "4", "5", "6", "7", "8"),
    tuple(f"{step / 20:g}" for step in range(20, 200)), tuple(f"{step / 100:g}" for step in range(100, 1000)),
)  # fmt: skip


def limit_line(value: float, text: str, *, level: float, to_left: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(shape, annotation) of a limit at `value` seconds on a logarithmic x axis, its text at height `level`."""
    shape = {
        "type": "line", "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "@limit", "width": 1.5, "dash": "dash"},
    }  # fmt: skip
    return shape, note(text, x=value, y=level, colour="@limit", to_left=to_left)


def note(text: str, *, x: float, y: float, colour: str, to_left: bool, log_x: bool = True) -> dict[str, Any]:
    """An annotation beside `x` at the share `y` of the plot's height."""
    # Plotly places annotations on a logarithmic axis by the exponent, shapes by the value.
    return {
        "x": math.log10(x) if log_x else x, "y": y, "yref": "paper", "text": text, "showarrow": False,
        "xanchor": "right" if to_left else "left", "yanchor": "top", "xshift": -4 if to_left else 4,
        "font": {"size": 11, "color": colour},
    }  # fmt: skip


def plot(drawn: Figure, identifier: str, title: str, caption: str) -> Html:
    """The figure with its title above and its caption below; `identifier` is ours and unique on the page."""
    return element(
        "figure",
        element("figcaption", element("h3", title)),
        element("div", class_="plot", id=identifier, role="img", aria_label=title, data_figure=f"{identifier}-data"),
        join(json_block(drawn, f"{identifier}-data")),
        element("p", caption, class_="caption"),
        class_="wide" if identifier in ("pareto", "samples") else None,
    )
