"""The plots of raw latencies: how many inferences finish within a time, and every sample in the order it happened."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median_low
from typing import Any

from edgekd.report.figures import Figure, axis, colour_of, figure, latency_axis, plot_text, symbol_of
from edgekd.report.measured import Measured
from edgekd.units import seconds_from_ns, text_from_s

CURVE_POINTS = 300
MOST_SAMPLES = 5_000
LEVELS = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)

Limits = Sequence[tuple[str, float, float]]


def tail_height(p: float) -> float:
    """Where the share `p` stands on the y axis: each further nine is one step up."""
    return -math.log10(1 - p) if p < 1 else math.inf


def curve_of(ordered_ns: Sequence[int]) -> tuple[list[float], list[float]]:
    """(latencies in seconds, heights) of the distribution of sorted samples, few points and the slowest among them."""
    n = len(ordered_ns)
    # The sample of rank i stands for the share (i - 1/2) / n, so that the slowest has a height.
    top = tail_height(1 - 0.5 / n)
    ranks = sorted({1, n, *(math.ceil(n * (1 - 10 ** (-top * k / CURVE_POINTS))) for k in range(1, CURVE_POINTS))})
    return [seconds_from_ns(ordered_ns[rank - 1]) for rank in ranks], [tail_height((rank - 0.5) / n) for rank in ranks]


def distribution_figure(artifacts: Sequence[Measured], limits: Limits) -> Figure:
    """A curve per artifact with its p50, p95 and p99, and a mark for each limit (name, quantile, seconds)."""
    traces = [trace for found in artifacts for trace in (_curve(found), _quantiles(found))]
    x = [value for trace in traces for value in trace["x"]] + [value for _, _, value in limits]
    if limits:
        middle = math.sqrt(min(x) * max(x))
        sides = ["left" if value > middle else "right" for _, _, value in limits]
        traces.append({
            "type": "scatter", "mode": "markers+text", "name": "limit", "textposition": [f"top {s}" for s in sides],
            "x": [value for _, _, value in limits], "y": [tail_height(p) for _, p, _ in limits],
            "text": [f" {plot_text(name, 20)} at most {text_from_s(value)} " for name, _, value in limits],
            "textfont": {"size": 11, "color": "@limit"}, "hoverinfo": "text", "cliponaxis": False,
            "marker": {"symbol": "x-thin", "size": 11, "color": "@limit", "line": {"width": 2.5, "color": "@limit"}},
        })  # fmt: skip
    longest = max(len(found.samples_ns) for found in artifacts)
    top = max(tail_height(1 - 0.5 / longest), *(tail_height(p) for _, p, _ in limits), 2.0)
    return figure(
        traces, height=420, xaxis=latency_axis("latency of one inference", x),
        yaxis=axis(
            "share of inferences that finish within it", range=[0, top * 1.04],
            tickvals=[tail_height(p) for p in LEVELS], ticktext=[f"{100 * p:g} %" for p in LEVELS],
        ),
    )  # fmt: skip


def _curve(found: Measured) -> dict[str, Any]:
    x, y = curve_of(found.sorted_ns)
    dash = "dash" if found.artifact.role == "teacher" else "solid"
    return {
        "type": "scatter", "mode": "lines", "name": plot_text(found.label), "x": x, "y": y, "hoverinfo": "skip",
        "line": {"color": _colour(found), "width": 2, "shape": "vh", "dash": dash},
    }  # fmt: skip


def _quantiles(found: Measured) -> dict[str, Any]:
    known = [(name, p, found.quantile_s(p)) for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))]
    shown = [(name, p, value) for name, p, value in known if value is not None]
    label = plot_text(found.label)
    return {
        "type": "scatter", "mode": "markers", "showlegend": False,
        "x": [value for _, _, value in shown], "y": [tail_height(p) for _, p, _ in shown],
        "hoverinfo": "text", "hovertext": [f"{label}: {name} {text_from_s(value)}" for name, _, value in shown],
        "marker": {"symbol": symbol_of(found.artifact.precision), "size": 8, "color": _colour(found)},
    }  # fmt: skip


def _colour(found: Measured) -> str:
    return colour_of(found.artifact.role, found.artifact.precision)


def thinned(samples: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """(positions, samples) to draw, at most `most`: of each stretch its fastest, middle and slowest, so bursts stay."""
    if len(samples) <= most:
        return list(range(len(samples))), list(samples)
    stretches = max(1, most // 3)
    edges = [len(samples) * k // stretches for k in range(stretches + 1)]
    kept: list[int] = []
    for start, end in itertools.pairwise(edges):
        order = range(start, end)
        middle = median_low(samples[start:end])
        kept += sorted({
            min(order, key=samples.__getitem__),
            next(index for index in order if samples[index] == middle),
            max(order, key=samples.__getitem__),
        })  # fmt: skip
    return kept, [samples[index] for index in kept]


def samples_figure(artifacts: Sequence[Measured]) -> Figure:
    """Every sample in order, a row of the plot per artifact, the process runs side by side in two shades."""
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    share, gap = 1 / len(artifacts), 0.08 if len(artifacts) > 1 else 0.0
    most = MOST_SAMPLES // len(artifacts)
    notes = []
    for row, found in enumerate(artifacts):
        key = "" if row == 0 else str(row + 1)
        top = 1 - row * share
        traces += _rows(found, key, most)
        last = row == len(artifacts) - 1
        domain = [max(0.0, top - share + (0 if last else gap / 2)), top - gap / 2]
        ends = [seconds_from_ns(found.sorted_ns[end]) for end in (0, -1)]
        layout[f"yaxis{key}"] = latency_axis("", ends, most=5, domain=domain, anchor=f"x{key}")
        layout[f"xaxis{key}"] = axis("sample, in the order measured" if last else "", anchor=f"y{key}", tickformat="~s")
        notes.append({
            "text": plot_text(found.label), "x": 0, "xref": "paper", "y": top - gap / 2, "yref": "paper",
            "showarrow": False, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12, "color": "@ink"},
        })  # fmt: skip
    return figure(
        traces, height=60 + 170 * len(artifacts), legend=False, annotations=notes,
        margin={"l": 56, "r": 16, "t": 24, "b": 48, "pad": 2}, **layout,
    )  # fmt: skip


def _rows(found: Measured, key: str, most: int) -> list[dict[str, Any]]:
    start, traces = 0, []
    for number, run in enumerate(found.runs_ns):
        share = max(3, most * len(run) // len(found.samples_ns))
        positions, samples = thinned(run, share)
        traces.append({
            "type": "scatter", "mode": "markers", "xaxis": f"x{key}", "yaxis": f"y{key}",
            "x": [start + position for position in positions], "y": [seconds_from_ns(sample) for sample in samples],
            "marker": {"size": 3, "color": _colour(found), "opacity": 0.85 if number % 2 == 0 else 0.4},
            "hovertemplate": f"process {number + 1}, sample %{{x}}: %{{y:.3s}}s<extra></extra>",
        })  # fmt: skip
        start += len(run)
    return traces
