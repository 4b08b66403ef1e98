"""Two records side by side."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats

from edgekd.gate.compare import Change, compare

MS = 1_000_000
Make = Callable[..., Any]


def _runs(medians_ms: list[float]) -> list[list[int]]:
    return [[round(value * MS) - 5, round(value * MS), round(value * MS) + 7] for value in medians_ms]


def test_faster_slower_and_no_difference(latency_record: Make) -> None:
    base = latency_record(_runs([10.0, 10.1, 9.9]))
    assert compare(base, latency_record(_runs([5.0, 5.05, 4.95]))).change is Change.FASTER
    assert compare(base, latency_record(_runs([12.0, 12.1, 11.9]))).change is Change.SLOWER
    assert compare(base, latency_record(_runs([10.05, 9.95, 10.1]))).change is Change.NONE_SHOWN


def test_a_record_beside_itself_shows_no_difference(latency_record: Make) -> None:
    same = latency_record(_runs([10.0, 10.0, 10.0]))
    found = compare(same, same)
    assert (found.change, found.ratio, found.low, found.high) == (Change.NONE_SHOWN, 1, 1, 1)


def test_ratio_and_interval_are_welch_on_the_logs_of_run_medians(latency_record: Make) -> None:
    import numpy as np

    a, b = [10.0, 10.4, 9.9, 10.2], [11.0, 11.9, 11.2]
    found = compare(latency_record(_runs(a)), latency_record(_runs(b)), confidence=0.9)
    interval = scipy.stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((np.exp(interval.low), np.exp(interval.high)))
    assert found.ratio == pytest.approx(np.exp(np.log(b).mean() - np.log(a).mean()))
    assert (found.baseline_runs, found.candidate_runs) == (4, 3)
    assert found.change is Change.SLOWER
    assert "90 % interval" in found.text


def test_too_few_runs_give_a_ratio_but_no_interval(latency_record: Make) -> None:
    base = latency_record(_runs([10.0, 10.0, 10.0]))
    found = compare(base, latency_record(_runs([20.0, 20.0])))
    assert found.change is Change.TOO_FEW_RUNS
    assert found.ratio == pytest.approx(2)
    assert found.low is found.high is None
    assert "from 3 and 2 process runs" in found.text
    assert compare(base, latency_record(_runs([20.0, 20.0, 20.0]))).change is Change.SLOWER


def test_thousands_of_samples_do_not_stand_in_for_runs(latency_record: Make) -> None:
    base, candidate = latency_record([[10 * MS] * 5000]), latency_record([[11 * MS] * 5000])
    assert compare(base, candidate).change is Change.TOO_FEW_RUNS


def test_different_conditions_give_differences_and_no_number(latency_record: Make) -> None:
    base = latency_record(_runs([10.0] * 3))
    found = compare(base, latency_record(_runs([5.0] * 3), runtime={"threads": 8}, host={"cpu": None}))
    assert found.change is Change.NOT_COMPARABLE
    assert found.ratio is None
    assert found.differences == ("cpu: A76 and unknown", "threads: 4 and 8")
    hot = compare(latency_record(_runs([5.0] * 3), host={"throttled_after": "0x4"}), base)
    assert hot.change is Change.NOT_COMPARABLE
    assert hot.differences == ("while the baseline was measured, the board was held back: it reported throttled",)


def test_runs_of_the_same_speed_seldom_look_different(latency_record: Make) -> None:
    rng, repeats, alarms = random.Random(2), 150, 0
    for _ in range(repeats):
        records = [latency_record(_runs([10 * (1 + rng.gauss(0, 0.03)) for _ in range(4)])) for _ in range(2)]
        alarms += compare(*records).change is not Change.NONE_SHOWN
    assert alarms / repeats <= 0.05 + 3 * (0.05 * 0.95 / repeats) ** 0.5
