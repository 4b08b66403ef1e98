"""The plots of raw latencies: no slow sample is lost on the way to the screen."""

import math

import pytest
from drawn import check
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.report.distribution import (
    MOST_SAMPLES,
    curve_of,
    distribution_figure,
    samples_figure,
    tail_height,
    thinned,
)
from edgekd.report.measured import measured
from edgekd.report.run import RunFolder
from edgekd.stats import quantile

SAMPLES = st.lists(st.integers(1, 10**9), min_size=1, max_size=400)


@given(SAMPLES)
def test_the_curve_rises_from_the_fastest_to_the_slowest(samples: list[int]) -> None:
    x, y = curve_of(sorted(samples))
    assert x == sorted(x)
    assert y == sorted(y)
    assert x[0] == min(samples) / 1e9
    assert x[-1] == max(samples) / 1e9
    assert all(math.isfinite(height) for height in y)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 10**9), min_size=300, max_size=300))
def test_the_curve_passes_through_the_quantiles(samples: list[int]) -> None:
    x, y = curve_of(sorted(samples))
    for p in (0.5, 0.95, 0.99):
        below = max(value for value, height in zip(x, y, strict=True) if height <= tail_height(p))
        assert below <= quantile(samples, p) / 1e9


@given(SAMPLES, st.integers(3, 60))
def test_thinning_keeps_the_extremes_and_the_order(samples: list[int], most: int) -> None:
    positions, kept = thinned(samples, most)
    assert len(kept) <= max(most, 3)
    assert positions == sorted(set(positions))
    assert [samples[position] for position in positions] == kept
    assert {min(samples), max(samples)} <= set(kept)


def test_short_runs_are_drawn_whole() -> None:
    assert thinned([3, 1, 2], 3) == ([0, 1, 2], [3, 1, 2])


def test_the_distribution_holds_each_artifact_and_each_limit(whole: RunFolder) -> None:
    figure = distribution_figure(whole.measured, [("p95", 0.95, 0.002)])
    check(figure)
    assert [trace["name"] for trace in figure["data"] if trace["mode"] == "lines"] == [
        found.label for found in whole.measured
    ]
    limit = figure["data"][-1]
    assert (limit["x"], limit["y"]) == ([0.002], [tail_height(0.95)])


def test_a_distribution_without_limits_is_drawn(whole: RunFolder) -> None:
    check(distribution_figure(whole.measured[:1], []))


def test_every_process_run_is_a_trace_of_its_artifacts_row(whole: RunFolder) -> None:
    figure = samples_figure(whole.measured)
    check(figure)
    runs = sum(len(found.runs_ns) for found in whole.measured)
    assert len(figure["data"]) == runs
    assert {trace["yaxis"] for trace in figure["data"]} == {"y", "y2", "y3"}
    assert sum(len(trace["x"]) for trace in figure["data"]) == sum(len(found.samples_ns) for found in whole.measured)


@pytest.mark.parametrize("factor", [1, 30])
def test_the_page_stays_small_however_many_samples(factor: int, whole: RunFolder) -> None:
    record = whole.latency[0]
    runs = [run.model_copy(update={"samples_ns": run.samples_ns * factor}) for run in record.runs]
    (found,) = measured([record.model_copy(update={"runs": runs})])
    drawn = sum(len(trace["x"]) for trace in samples_figure([found])["data"])
    assert drawn <= MOST_SAMPLES
    assert max(max(trace["y"]) for trace in samples_figure([found])["data"]) == max(found.samples_ns) / 1e9
