"""The latency criterion: each comparison pinned at its boundary, and what blocks an answer."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd.gate.latency import Samples, latency_criterion, samples_from_records
from edgekd.gate.verdict import Criterion, Outcome, Reason
from edgekd.stats import fail_count, pass_count

MS = 1_000_000


def _judged(
    runs: Sequence[Sequence[int]],
    name: str = "p95",
    limit_s: float = 0.010,
    *,
    alpha: float = 0.05,
    alpha_fail: float = 0.05,
    **facts: Any,
) -> Criterion:
    samples = Samples(tuple(tuple(run) for run in runs), **facts)
    return latency_criterion(samples, name, limit_s, alpha_pass=alpha, alpha_fail=alpha_fail)


def _answer(runs: Sequence[Sequence[int]], *args: Any, **kwargs: Any) -> tuple[str, str]:
    found = _judged(runs, *args, **kwargs)
    return found.outcome.value, found.reason.value


def test_too_few_samples_are_inconclusive_and_say_how_many_are_needed(steady: Callable[..., Any]) -> None:
    found = _judged(steady(1, 58))
    assert (found.outcome, found.reason, found.needed) == (Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES, 59)
    assert "58 samples are too few" in found.text
    assert "59" in found.text
    assert _answer(steady(1, 59)) == ("pass", "KEPT")


@pytest.mark.parametrize(("name", "floor"), [("p50", 5), ("p90", 29), ("p99", 299), ("p99.9", 2995)])
def test_first_possible_pass_is_at_the_known_sample_count(name: str, floor: int, steady: Callable[..., Any]) -> None:
    assert _answer(steady(1, floor), name) == ("pass", "KEPT")
    assert _answer(steady(1, floor - 1), name) == ("inconclusive", "TOO_FEW_SAMPLES")


def test_samples_equal_to_the_limit_keep_it() -> None:
    assert _answer([[10 * MS] * 59]) == ("pass", "KEPT")
    assert _answer([[10 * MS + 1] * 59]) == ("fail", "MISSED")


def test_pass_ends_and_fail_begins_at_the_exact_counts(steady: Callable[..., Any]) -> None:
    outcomes = {over: _answer(steady(5, 200, over)) for over in (38, 39, 62, 63)}
    assert outcomes[38] == ("pass", "KEPT")
    assert outcomes[39] == ("inconclusive", "TOO_CLOSE")
    assert outcomes[62] == ("inconclusive", "TOO_CLOSE")
    assert outcomes[63] == ("fail", "MISSED")


def test_fail_uses_its_own_error_rate(steady: Callable[..., Any]) -> None:
    stricter = fail_count(1000, 0.95, 0.05 / 3)
    assert stricter > 63
    assert _answer(steady(5, 200, stricter - 1), alpha_fail=0.05 / 3) == ("inconclusive", "TOO_CLOSE")
    assert _answer(steady(5, 200, stricter), alpha_fail=0.05 / 3) == ("fail", "MISSED")
    assert _answer(steady(5, 200, 38), alpha_fail=0.05 / 3) == ("pass", "KEPT")
    assert _answer(steady(5, 200, 38), alpha=0.01) == ("inconclusive", "TOO_CLOSE")


def test_numbers_beside_the_outcome_are_those_it_follows_from(steady: Callable[..., Any]) -> None:
    runs = steady(5, 200, 30)
    ordered = sorted(sample for run in runs for sample in run)
    found = _judged(runs)
    assert (found.n, found.over) == (1000, 30)
    assert found.estimate == ordered[949] / 1e9
    assert found.high == ordered[1000 - pass_count(1000, 0.95, 0.05) - 1] / 1e9
    assert found.low == ordered[1000 - fail_count(1000, 0.95, 0.05)] / 1e9
    assert found.metric == "latency.p95"
    assert found.unit == "s"


def test_fail_sentence_says_by_how_much(steady: Callable[..., Any]) -> None:
    found = _judged(steady(4, 250, fast=12_250_000), limit_s=0.010)
    assert found.outcome is Outcome.FAIL
    assert (
        found.text
        == "p95 is 12.4 ms (at least 12.4 ms and at most 12.4 ms, 95 % sure), 1.24 times the limit of 10.0 ms"
    )
    near = _judged([[10_110_000] * 1000], limit_s=0.010)
    assert near.outcome is Outcome.FAIL
    assert "1.1 % above the limit of 10.0 ms" in near.text


def test_close_call_says_how_many_samples_would_decide(steady: Callable[..., Any]) -> None:
    found = _judged(steady(5, 200, 42))
    assert found.reason is Reason.TOO_CLOSE
    assert found.needed > 1000
    assert f"about {found.needed} samples in all would decide" in found.text
    at_limit = _judged(steady(5, 200, 50))
    assert at_limit.needed is None
    assert "no reachable number" in at_limit.text


def test_no_record_is_inconclusive() -> None:
    found = latency_criterion(None, "p95", 0.01, alpha_pass=0.05, alpha_fail=0.05)
    assert (found.outcome, found.reason, found.estimate) == (Outcome.INCONCLUSIVE, Reason.NO_LATENCY_RECORD, None)


@pytest.mark.parametrize("reason", [Reason.POWER_MODE, Reason.SUSPENDED, Reason.GOVERNOR_CHANGED, Reason.CLOCK_FELL])
def test_another_board_than_the_limit_is_for_blocks_pass_and_fail(steady: Callable[..., Any], reason: Reason) -> None:
    for fast in (4 * MS, 15 * MS):
        found = _judged(steady(5, 200, fast=fast), spoiled=(reason, "it was another"))
        assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, reason)
        assert "(it was another); " in found.text
        assert found.text.endswith("measure again")


def test_throttling_blocks_pass_and_fail(steady: Callable[..., Any]) -> None:
    for fast in (4 * MS, 15 * MS):
        found = _judged(steady(5, 200, fast=fast), throttled="it reported under-voltage")
        assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.THROTTLED)
        assert "under-voltage" in found.text


def test_lost_process_runs_block_pass_but_not_fail(steady: Callable[..., Any]) -> None:
    assert _answer(steady(4, 250), runs_lost=1) == ("inconclusive", "RUNS_MISSING")
    assert _answer(steady(4, 250, fast=15 * MS), runs_lost=1) == ("fail", "MISSED")


def test_mixed_conditions_give_no_number(steady: Callable[..., Any]) -> None:
    found = _judged(steady(4, 250), mixed=("threads: 2 and 4",))
    assert (found.reason, found.estimate) == (Reason.MIXED_CONDITIONS, None)
    assert "threads: 2 and 4" in found.text


def _ramp(n: int, first: int, last: int) -> list[int]:
    return [first + (last - first) * index // (n - 1) for index in range(n)]


def test_drift_blocks_an_answer_that_more_of_it_would_change() -> None:
    slowing = _ramp(900, 8 * MS, 9_900_000)
    assert _answer([slowing]) == ("inconclusive", "DRIFT")
    assert "slower while measuring" in _judged([slowing]).text
    speeding = _ramp(900, 11_800_000, 10_100_000)
    assert _answer([speeding]) == ("inconclusive", "DRIFT")
    assert "faster while measuring" in _judged([speeding]).text


def test_drift_with_room_for_as_much_again_does_not_block() -> None:
    assert _answer([_ramp(900, 4 * MS, 6 * MS)]) == ("pass", "KEPT")
    assert _answer([_ramp(900, 20 * MS, 16 * MS)]) == ("fail", "MISSED")


def test_drift_within_each_run_counts_even_when_runs_look_alike() -> None:
    sawtooth = [_ramp(200, 7_500_000, 9_900_000)] * 5
    assert _answer(sawtooth) == ("inconclusive", "DRIFT")


def test_drift_of_exactly_three_percent_is_allowed() -> None:
    at_edge = [100 * MS] * 300 + [101 * MS] * 300 + [103 * MS] * 300
    beyond = [100 * MS] * 300 + [101 * MS] * 300 + [103 * MS + 1000] * 300
    assert _answer([at_edge], limit_s=0.1031) == ("pass", "KEPT")
    assert _answer([beyond], limit_s=0.1031) == ("inconclusive", "DRIFT")
    assert _answer([at_edge], limit_s=0.0999) == ("fail", "MISSED")
    assert _answer([beyond], limit_s=0.0999) == ("inconclusive", "DRIFT")


def test_drift_margin_is_counted_from_the_worst_third() -> None:
    stepped = [100 * MS] * 300 + [105 * MS] * 300 + [110 * MS] * 300
    assert _answer([stepped], limit_s=0.121 + 2e-9) == ("pass", "KEPT")
    assert _answer([stepped], limit_s=0.121 - 2e-9) == ("inconclusive", "DRIFT")
    falling = [110 * MS] * 300 + [105 * MS] * 300 + [100 * MS] * 300
    edge_s = 0.1 / (1 + (1 - 100 / 110))
    assert _answer([falling], limit_s=edge_s - 2e-9) == ("fail", "MISSED")
    assert _answer([falling], limit_s=edge_s + 2e-9) == ("inconclusive", "DRIFT")


def test_bursts_block_a_pass_that_independent_samples_would_earn() -> None:
    rng = random.Random(5)
    calm = [4 * MS + rng.randrange(MS // 100) for _ in range(1000)]
    burst = [*calm[:470], *[20 * MS] * 30, *calm[500:]]
    found = _judged([burst])
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.BURSTS)
    assert "come in bursts" in found.text
    assert found.high is None or found.high > 0.010


def test_small_bursts_raise_the_upper_bound_to_what_they_leave_room_for() -> None:
    clumps = [9, 0, 6, 2, 0, 8, 1, 6, 0, 4]
    runs = [[20 * MS] * over + [4 * MS] * (100 - over) for over in clumps]
    found = _judged(runs)
    assert found.over == 36 <= pass_count(1000, 0.95, 0.05)
    assert found.reason is Reason.BURSTS
    assert found.high == 0.020
    even = [[20 * MS] * over + [4 * MS] * (100 - over) for over in [4, 3, 4, 4, 3, 4, 3, 4, 3, 4]]
    assert _judged(even).high == 0.004


def test_bursts_block_a_fail_that_independent_samples_would_earn() -> None:
    rng = random.Random(6)
    calm = [4 * MS + rng.randrange(MS // 100) for _ in range(1000)]
    burst = [*calm[:420], *[20 * MS] * 80, *calm[500:]]
    found = _judged([burst])
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.BURSTS)
    assert found.low is None


def test_segments_are_runs_when_there_are_ten_and_parts_of_runs_otherwise() -> None:
    ten = Samples(tuple((n, n, n) for n in range(1, 11)))
    assert ten.segments == [(n, n, n) for n in range(1, 11)]
    three = Samples((tuple(range(8)), tuple(range(8)), (1, 2)))
    assert [len(part) for part in three.segments] == [2] * 8 + [1, 1]


def test_conditions_reach_the_samples(latency_record: Callable[..., Any], steady: Callable[..., Any]) -> None:
    one = latency_record(steady(2, 50), protocol={"processes": 3})
    hot = latency_record(steady(2, 50, 1), host={"throttled_after": "throttled=0x4"}, runtime={"threads": 2})
    samples = samples_from_records([one, hot])
    assert samples.runs == tuple(tuple(run) for run in (*steady(2, 50), *steady(2, 50, 1)))
    assert samples.runs_lost == 1
    assert samples.mixed == ("threads: 4 and 2",)
    assert samples.throttled == "it reported throttled"
    assert samples_from_records([]) is None


_RUNS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=120), min_size=1, max_size=4)
_FEW = settings(max_examples=120, deadline=None, derandomize=True)


@given(_RUNS, st.integers(1, 30), st.integers(0, 20), st.sampled_from(("p50", "p90", "p95")))
@_FEW
def test_raising_a_limit_never_turns_pass_into_fail(runs: Any, limit: int, more: int, name: str) -> None:
    if _judged(runs, name, limit / 1e9).outcome is Outcome.PASS:
        assert _judged(runs, name, (limit + more) / 1e9).outcome is not Outcome.FAIL


@given(_RUNS, st.integers(1, 30), st.integers(2, 5), st.sampled_from(("p50", "p90", "p95")))
@_FEW
def test_slowing_everything_down_never_turns_fail_into_pass(runs: Any, limit: int, factor: int, name: str) -> None:
    if _judged(runs, name, limit / 1e9).outcome is Outcome.FAIL:
        slower = [[sample * factor for sample in run] for run in runs]
        assert _judged(slower, name, limit / 1e9).outcome is not Outcome.PASS


@given(st.integers(59, 400), st.integers(0, 40), st.sampled_from(("p50", "p90", "p95")))
@_FEW
def test_a_slow_sample_never_earns_a_pass(n: int, over: int, name: str) -> None:
    flat = [4 * MS] * n
    for index in range(over):
        flat[(2 * index + 1) * n // (2 * over)] = 20 * MS
    before, after = _judged([flat], name), _judged([[*flat, 20 * MS]], name)
    if before.reason in (Reason.MISSED, Reason.TOO_CLOSE):
        assert after.outcome is not Outcome.PASS


@given(_RUNS, st.integers(1, 30), st.sampled_from(("p50", "p90", "p95", "p99")))
@_FEW
def test_bounds_never_contradict_the_outcome(runs: Any, limit: int, name: str) -> None:
    found = _judged(runs, name, limit / 1e9)
    if found.outcome is Outcome.PASS:
        assert found.high <= limit / 1e9
    if found.outcome is Outcome.FAIL:
        assert found.low > limit / 1e9
        assert found.excess > 0
    assert found.text


def test_at_the_limit_a_pass_and_a_fail_are_as_rare_as_promised() -> None:
    rng, repeats, alpha = random.Random(11), 700, 0.05
    outcomes = []
    for _ in range(repeats):
        runs = [[10 * MS + (1 if rng.random() < 0.05 else -1) for _ in range(60)] for _ in range(3)]
        outcomes.append(_judged(runs).outcome)
    allowance = alpha + 3 * math.sqrt(alpha * (1 - alpha) / repeats)
    assert outcomes.count(Outcome.PASS) / repeats <= allowance
    assert outcomes.count(Outcome.FAIL) / repeats <= allowance
    assert outcomes.count(Outcome.PASS) > 0
    assert outcomes.count(Outcome.FAIL) > 0
