from __future__ import annotations

import itertools
import random

import pytest

from edgekd.bench.ratio import (
    own_times,
    quiet_level_s,
    ratios,
    relative_latency,
    seconds_from_ratio,
    undisturbed_s,
)
from edgekd.errors import MeasureError
from edgekd.record import PairedRun


def _run(model: list[int], sentinel: list[int]) -> PairedRun:
    return PairedRun(model_ns=model, sentinel_ns=sentinel, load_ns=1)


def test_ratio_is_the_time_over_the_mean_of_its_neighbours() -> None:
    assert ratios(_run([300, 600], [100, 200, 400])) == [2.0, 2.0]


def test_machine_that_slows_down_leaves_the_ratio_as_it_was() -> None:
    draw = random.Random(1)
    slowness = [1 + 2 * draw.random() for _ in range(41)]
    sentinel = [round(1_000_000 * slow) for slow in slowness]
    model = [round(3_000_000 * (a + b) / 2) for a, b in itertools.pairwise(slowness)]
    found = relative_latency(_run(model, sentinel))
    assert found.ratio == pytest.approx(3.0, rel=1e-5)
    assert found.spread == pytest.approx(0, abs=1e-5)
    assert found.pairs == 40


def test_one_interrupted_pair_does_not_move_the_result() -> None:
    found = relative_latency(_run([200, 200, 90_000, 200, 200], [100] * 6))
    assert (found.ratio, found.spread) == (2.0, 0.0)


def test_error_shrinks_with_the_number_of_pairs() -> None:
    few = relative_latency(_run([190, 200, 210], [100] * 4))
    many = relative_latency(_run([190, 200, 210] * 4, [100] * 13))
    assert many.error < few.error


def test_quiet_level_is_near_the_fastest_times_of_all_runs() -> None:
    runs = [_run([1] * 9, [2_000_000] * 10), _run([1] * 9, [1_000_000] * 3 + [9_000_000] * 7)]
    assert quiet_level_s(runs) == pytest.approx(0.001)


def test_quiet_level_without_runs_is_a_measure_error() -> None:
    with pytest.raises(MeasureError):
        quiet_level_s([])


def test_ratio_times_quiet_level_is_seconds() -> None:
    assert seconds_from_ratio(3.0, 0.002) == pytest.approx(0.006)


def test_the_threads_own_times_count_where_they_are_known() -> None:
    run = PairedRun(
        model_ns=[900], sentinel_ns=[100, 300], load_ns=1, model_thread_ns=[400], sentinel_thread_ns=[100, 100]
    )
    assert ratios(run) == [4.0]
    assert own_times(run) == ([400], [100, 100])
    assert own_times(_run([9], [1, 1])) == ([9], [1, 1])


def test_the_undisturbed_time_is_below_the_middle_with_an_error_that_shrinks() -> None:
    draw = random.Random(2)
    times = [round(1e6 * draw.lognormvariate(0, 0.02)) for _ in range(400)]
    few, many = undisturbed_s(times[:25]), undisturbed_s(times)
    assert many[0] == pytest.approx(1e-3 * 0.9866, rel=0.004)
    assert many[1] == pytest.approx(few[1] / 4, rel=0.4)
    again = [undisturbed_s([round(1e6 * draw.lognormvariate(0, 0.02)) for _ in range(400)])[0] for _ in range(300)]
    spread = (sum((value / 0.9866e-3 - 1) ** 2 for value in again) / len(again)) ** 0.5
    assert many[1] == pytest.approx(spread, rel=0.3)
