"""The plot of every candidate: how long it takes, predicted and measured, and how much it may learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekd.report.figures import (
    Figure,
    axis,
    colour_of,
    figure,
    hover,
    latency_axis,
    limit_line,
    plot_text,
    symbol_of,
)
from edgekd.sizing.files import ForecastRow, MeasurementRow, SizingFile, StudentRow, StudentsFile
from edgekd.units import text_from_bytes, text_from_count, text_from_j, text_from_s, text_from_share

MOST_CANDIDATES = 1_500
MOST_BARS = 300


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate with a latency: predicted, measured or both."""

    row: StudentRow
    precision: str
    forecast: ForecastRow | None
    measurement: MeasurementRow | None

    @property
    def name(self) -> str:
        """The candidate's name in sizing.json."""
        return f"{self.row.id}-{self.precision}"

    @property
    def predicted_s(self) -> float | None:
        """The middle of the prediction."""
        return self.forecast.latency_s.mid if self.forecast and self.forecast.latency_s else None

    @property
    def best_known_s(self) -> float:
        """The measured latency, or the predicted one."""
        return self.measurement.latency_s if self.measurement else (self.predicted_s or 0.0)


def points_of(students: StudentsFile, sizing: SizingFile) -> list[Point]:
    """Every candidate of which a latency is known."""
    found = [
        Point(row, precision, sizing.forecasts.get(name), sizing.measurements.get(name))
        for row in students.students
        for precision in row.prices
        for name in (f"{row.id}-{precision}",)
    ]
    return [point for point in found if point.best_known_s > 0]


def shown_of(points: list[Point], sizing: SizingFile) -> list[Point]:
    """`points`, thinned out when they are too many to draw; measured ones, the front and the chosen stay."""
    if len(points) <= MOST_CANDIDATES:
        return points
    front, step = set(sizing.pareto), -(-len(points) // MOST_CANDIDATES)
    return [
        point
        for index, point in enumerate(points)
        if index % step == 0 or point.measurement or point.name in front or point.row.id == sizing.chosen
    ]


def front_of(points: list[Point], sizing: SizingFile) -> list[Point]:
    """The points of sizing's front that no faster one exceeds in parameters, the fastest first."""
    front, best = [], 0
    named = set(sizing.pareto)
    for point in sorted((p for p in points if p.name in named), key=lambda p: (p.best_known_s, -p.row.capacity)):
        if point.row.capacity > best:
            best = point.row.capacity
            front.append(point)
    return front


def pareto_figure(students: StudentsFile, sizing: SizingFile) -> Figure:
    """Latency against parameters: predictions with their intervals, measurements, the front, the limits."""
    points = shown_of(points_of(students, sizing), sizing)
    bars = {point.name for point in points if len(points) <= MOST_BARS or point.measurement}
    traces = [_front(points, sizing), _links(points)]
    for precision in students.precisions:
        own = [point for point in points if point.precision == precision]
        traces += [_predicted(own, precision, bars), _measured(own, precision)]
    traces.append(_chosen(points, sizing))
    most = max((point.row.capacity for point in points), default=1)
    limits = [limit for limit in sizing.limits if limit.quantity == "latency_s"]
    x = [*_ends(points), *(limit.value for limit in limits)]
    marks = [
        limit_line(
            limit.value,
            _limit_text(limit.name, limit.value),
            level=1 - 0.05 * index,
            to_left=limit.value**2 > min(x) * max(x),
        )
        for index, limit in enumerate(limits)
    ]
    return figure(
        [trace for trace in traces if trace["x"]],
        height=480,
        xaxis=latency_axis("median latency of one inference", x),
        yaxis=axis("parameters outside the embeddings", tickformat="~s", range=[0, most * (1.06 + 0.05 * len(limits))]),
        shapes=[shape for shape, _ in marks],
        annotations=[text for _, text in marks],
    )


def _ends(points: list[Point]) -> Iterator[float]:
    for point in points:
        span = point.forecast.latency_s if point.forecast else None
        yield point.best_known_s
        if span is not None:
            yield from (span.low, span.high)


def _limit_text(name: str, value: float) -> str:
    return f"{plot_text(name.removeprefix('latency.'), 20)} at most {text_from_s(value)}"


def _front(points: list[Point], sizing: SizingFile) -> dict[str, Any]:
    front = front_of(points, sizing)
    return {
        "type": "scatter", "mode": "lines", "name": "front", "hoverinfo": "skip",
        "x": [point.best_known_s for point in front], "y": [point.row.capacity for point in front],
        "line": {"color": "@muted", "width": 1.2, "shape": "hv", "dash": "dot"},
    }  # fmt: skip


def _links(points: list[Point]) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[int | None] = []
    for point in points:
        if point.measurement and point.predicted_s:
            x += [point.predicted_s, point.measurement.latency_s, None]
            y += [point.row.capacity, point.row.capacity, None]
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip", "showlegend": False,
        "line": {"color": "@muted", "width": 1},
    }  # fmt: skip


def _predicted(own: list[Point], precision: str, bars: set[str]) -> dict[str, Any]:
    shown = [(point, point.forecast.latency_s) for point in own if point.forecast and point.forecast.latency_s]
    wide = [(span if point.name in bars else None) for point, span in shown]
    return {
        "type": "scatter", "mode": "markers", "name": f"{plot_text(precision)} predicted",
        "x": [span.mid for _, span in shown], "y": [point.row.capacity for point, _ in shown],
        "hoverinfo": "text", "hovertext": [hover_of(point) for point, _ in shown],
        "marker": {
            "symbol": f"{symbol_of(precision)}-open", "size": 8, "opacity": 0.75,
            "color": colour_of("student", precision),
        },
        "error_x": {
            "type": "data", "symmetric": False, "color": "@bar", "thickness": 1, "width": 0,
            "array": [span.high - span.mid if span else 0 for span in wide],
            "arrayminus": [span.mid - span.low if span else 0 for span in wide],
        },
    }  # fmt: skip


def _measured(own: list[Point], precision: str) -> dict[str, Any]:
    shown = [(point, point.measurement) for point in own if point.measurement]
    return {
        "type": "scatter", "mode": "markers", "name": f"{plot_text(precision)} measured",
        "x": [found.latency_s for _, found in shown], "y": [point.row.capacity for point, _ in shown],
        "hoverinfo": "text", "hovertext": [hover_of(point) for point, _ in shown],
        "marker": {"symbol": symbol_of(precision), "size": 9, "color": colour_of("student", precision)},
    }  # fmt: skip


def _chosen(points: list[Point], sizing: SizingFile) -> dict[str, Any]:
    own = [point for point in points if point.row.id == sizing.chosen and point.precision in sizing.fitting]
    return {
        "type": "scatter", "mode": "markers", "name": "chosen", "hoverinfo": "skip",
        "x": [point.best_known_s for point in own], "y": [point.row.capacity for point in own],
        "marker": {"symbol": "circle-open", "size": 22, "color": "@accent", "line": {"width": 2, "color": "@accent"}},
    }  # fmt: skip


def hover_of(point: Point) -> str:
    """What stands in a candidate's hover box: dimensions, work, memory, predicted and measured latency."""
    spec, price, found = point.row.student, point.row.prices[point.precision], point.measurement
    span = point.forecast.latency_s if point.forecast else None
    memory = point.forecast.memory_bytes.mid if point.forecast else price.memory_bytes
    peak = found.peak_memory_bytes if found else None
    return hover([
        f"<b>{plot_text(point.row.id)} {plot_text(point.precision)}</b>",
        f"{spec.layers} layers, hidden {spec.hidden}, {spec.heads} heads, ffn {spec.ffn}",
        f"{text_from_count(point.row.parameters)} parameters, {text_from_share(point.row.share)} of the teacher's",
        f"{text_from_count(point.row.macs)} MACs",
        f"memory {text_from_bytes(memory)} predicted" + (f", {text_from_bytes(peak)} measured" if peak else ""),
        f"latency {_span(span.mid, span.low, span.high)} predicted" if span else None,
        f"latency {_span(found.latency_s, found.low_s, found.high_s)} measured" if found else None,
        _energy_text(point),
        plot_text("; ".join(point.row.warnings), 200) or None,
    ])  # fmt: skip


def _energy_text(point: Point) -> str | None:
    """'energy 1.20 mJ predicted, 1.25 mJ measured'; None where nothing tells it."""
    span = point.forecast.energy_j if point.forecast else None
    measured = point.measurement.energy_j if point.measurement else None
    told = [f"{text_from_j(span.mid)} predicted"] if span else []
    told += [] if measured is None else [f"{text_from_j(measured)} measured"]
    return f"energy {', '.join(told)}" if told else None


def _span(value: float, low: float, high: float) -> str:
    return f"{text_from_s(value)} ({text_from_s(low)} to {text_from_s(high)})"
