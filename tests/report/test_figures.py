"""What the plots share: labels that cannot be markup, ticks a person can read."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edgekd.report.figures import figure, hover, latency_axis, limit_line, note, plot, plot_text, ticks_between

SECONDS = st.floats(1e-7, 100)


def test_labels_hold_no_tags_and_no_control_characters() -> None:
    assert plot_text("<a href='x'>y</a>\x1b") == "&lt;a href='x'&gt;y&lt;/a&gt;\\x1b"
    assert hover(["a", None, "b"]) == "a<br>b"


@given(SECONDS, st.floats(1.03, 1e6))
def test_ticks_lie_in_the_range_and_are_few(low: float, factor: float) -> None:
    ticks = ticks_between(low, low * factor)
    assert all(low <= tick <= low * factor for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 9


def test_ticks_are_round() -> None:
    assert ticks_between(0.9e-3, 40e-3) == [1e-3, 3e-3, 10e-3, 30e-3]
    assert ticks_between(0.9e-3, 11e-3) == [1e-3, 2e-3, 5e-3, 10e-3]


@given(st.lists(SECONDS, min_size=1, max_size=5))
def test_a_latency_axis_shows_every_value(values: list[float]) -> None:
    low, high = latency_axis("latency", values)["range"]
    assert all(low < math.log10(value) < high for value in values)


def test_a_latency_axis_of_nothing_is_an_axis() -> None:
    assert latency_axis("latency", [])["ticktext"]


def test_tick_texts_have_units_and_no_trailing_zeros() -> None:
    assert latency_axis("latency", [0.9e-3, 5e-3])["ticktext"][:3] == ["1 ms", "1.5 ms", "2 ms"]
    assert "100 µs" in latency_axis("latency", [50e-6, 5e-3])["ticktext"]


def test_a_limit_stands_at_its_value_and_its_text_at_the_exponent() -> None:
    shape, text = limit_line(0.01, "p95", level=0.9, to_left=True)
    assert shape["x0"] == shape["x1"] == 0.01
    assert math.isclose(text["x"], -2)
    assert text["xanchor"] == "right"
    assert note("a", x=3, y=0, colour="@ink", to_left=False, log_x=False)["x"] == 3


def test_a_plot_names_its_data_and_says_its_title() -> None:
    text = plot(figure([]), "pareto", "A title", "A caption").text
    assert 'data-figure="pareto-data"' in text
    assert 'id="pareto-data"' in text
    assert 'aria-label="A title"' in text
