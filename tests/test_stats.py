"""Known answers, scipy as oracle, and simulations of what the bounds promise."""

from __future__ import annotations

import itertools
import math
import random
from statistics import median

import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekd import stats

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 1), (3, 200), (14.5, 0.5), (1000, 17), (5e5, 5e5), (9.9e5, 1e4)])
def test_incomplete_beta_agrees_with_scipy(a: float, b: float) -> None:
    mean, spread = a / (a + b), math.sqrt(a * b) / (a + b) ** 1.5
    for step in (-6, -2, -0.5, 0, 0.5, 2, 6):
        x = min(max(mean + step * spread, 1e-6), 1 - 1e-6)
        assert stats.incomplete_beta(a, b, x) == pytest.approx(scipy.special.betainc(a, b, x), rel=1e-9, abs=1e-13)


def test_incomplete_beta_is_0_and_1_at_its_ends() -> None:
    assert stats.incomplete_beta(2, 3, 0) == 0
    assert stats.incomplete_beta(2, 3, 1) == 1


@pytest.mark.parametrize("n", [1, 2, 59, 299, 1000, 54_321, 1_000_000])
@pytest.mark.parametrize("q", [0.001, 0.01, 0.05, 0.5])
def test_binomial_tails_agree_with_scipy(n: int, q: float) -> None:
    mean, spread = n * q, math.sqrt(n * q * (1 - q))
    for k in sorted({0, 1, n - 1, n, *(int(mean + step * spread) for step in (-4, -1, 0, 1, 4))}):
        if 0 <= k <= n:
            below, above = scipy.stats.binom.cdf(k, n, q), scipy.stats.binom.sf(k - 1, n, q)
            assert stats.binomial_at_most(k, n, q) == pytest.approx(below, rel=1e-9, abs=1e-14)
            assert stats.binomial_at_least(k, n, q) == pytest.approx(above, rel=1e-9, abs=1e-14)


def test_binomial_tails_are_certain_outside_the_range() -> None:
    assert stats.binomial_at_most(-1, 5, 0.1) == 0
    assert stats.binomial_at_most(5, 5, 0.1) == 1
    assert stats.binomial_at_least(0, 5, 0.1) == 1
    assert stats.binomial_at_least(6, 5, 0.1) == 0


@pytest.mark.parametrize("freedom", [1, 2, 2.7, 9, 40, 1000])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.8, 0.95, 0.975, 0.999])
def test_student_and_chi_square_quantiles_agree_with_scipy(probability: float, freedom: float) -> None:
    student = scipy.stats.t.ppf(probability, freedom)
    assert stats.student_t_quantile(probability, freedom) == pytest.approx(student, rel=1e-8, abs=1e-7)
    chi = scipy.stats.chi2.ppf(probability, freedom)
    assert stats.chi_square_quantile(probability, freedom) == pytest.approx(chi, rel=1e-8)


@pytest.mark.parametrize(("confidence", "expected"), [(0.95, (5, 29, 59, 299, 2995)), (0.99, (7, 44, 90, 459, 4603))])
def test_smallest_sample_counts_are_the_known_ones(confidence: float, expected: tuple[int, ...]) -> None:
    assert tuple(stats.samples_needed(p, confidence) for p in QUANTILES) == expected


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.95, (299, 473, 628, 773, 1049, 1693)), (0.99, (459, 662, 838, 1001, 1307, 2010))],
)
def test_sample_counts_with_allowed_overs_are_the_known_ones(confidence: float, expected: tuple[int, ...]) -> None:
    found = tuple(stats.samples_needed(0.99, confidence, over) for over in (0, 1, 2, 3, 5, 10))
    assert found == expected


@pytest.mark.parametrize(
    ("n", "p", "passes", "fails"),
    [
        (299, 0.99, 0, 7),
        (1000, 0.99, 4, 16),
        (3000, 0.99, 20, 40),
        (10_000, 0.99, 83, 118),
        (299, 0.95, 8, 22),
        (1000, 0.95, 38, 63),
        (10_000, 0.95, 463, 537),
        (5, 0.5, 0, 5),
    ],
)
def test_counts_for_pass_and_fail_are_the_known_ones(n: int, p: float, passes: int, fails: int) -> None:
    assert stats.pass_count(n, p, 0.05) == passes
    assert stats.fail_count(n, p, 0.05) == fails


@given(st.integers(1, 3000), st.sampled_from(QUANTILES), st.sampled_from((0.01, 0.05, 0.2)))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_counts_for_pass_and_fail_are_the_last_that_scipy_allows(n: int, p: float, alpha: float) -> None:
    passes, fails = stats.pass_count(n, p, alpha), stats.fail_count(n, p, alpha)
    at_most, at_least = scipy.stats.binom.cdf, scipy.stats.binom.sf
    k = -1 if passes is None else passes
    assert k == -1 or at_most(k, n, 1 - p) <= alpha
    assert at_most(k + 1, n, 1 - p) > alpha
    c = n + 1 if fails is None else fails
    assert c == n + 1 or at_least(c - 1, n, 1 - p) <= alpha
    assert at_least(c - 2, n, 1 - p) > alpha
    assert k < c


def test_no_samples_show_nothing() -> None:
    assert stats.pass_count(0, 0.5, 0.05) is None
    assert stats.fail_count(0, 0.5, 0.05) is None


def test_too_few_samples_can_still_show_a_miss() -> None:
    assert stats.pass_count(58, 0.95, 0.05) is None
    assert stats.pass_count(59, 0.95, 0.05) == 0
    assert stats.fail_count(1, 0.95, 0.05) == 1
    assert stats.fail_count(1, 0.94, 0.05) is None


def test_quantile_is_an_observed_value() -> None:
    values = list(range(1, 101))
    random.Random(1).shuffle(values)
    assert [stats.quantile(values, p) for p in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert stats.quantile(list(range(1, 1001)), 99.9 / 100) == 999
    assert stats.quantile([7], 0.5) == stats.quantile([7], 0.999) == 7
    assert stats.quantile([1, 2], 0.5) == 1
    assert stats.quantile([1, 2], 0.51) == 2


@given(st.lists(st.integers(1, 50), min_size=1, max_size=400), st.integers(0, 51), st.sampled_from((0.5, 0.9, 0.95)))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_bounds_say_the_same_as_the_counts(samples: list[int], limit: int, p: float) -> None:
    low, high = stats.quantile_bounds(samples, p, 0.05, 0.02)
    over = sum(sample > limit for sample in samples)
    passes, fails = stats.pass_count(len(samples), p, 0.05), stats.fail_count(len(samples), p, 0.02)
    assert (high is not None and high <= limit) == (passes is not None and over <= passes)
    assert (low is not None and low > limit) == (fails is not None and over >= fails)
    estimate = stats.quantile(samples, p)
    assert low is None or low <= estimate
    assert high is None or high >= estimate


def test_samples_to_decide_grows_towards_the_limit_and_gives_up_at_it() -> None:
    needs = [stats.samples_to_decide(share, 0.95, 0.05, 0.05, 10**6) for share in (0.0, 0.02, 0.04)]
    assert needs[0] == 59
    assert needs[0] < needs[1] < needs[2]
    for share, n in zip((0.0, 0.02, 0.04), needs, strict=True):
        assert math.ceil(n * share) <= stats.pass_count(n, 0.95, 0.05)
    assert stats.samples_to_decide(0.05, 0.95, 0.05, 0.05, 100_000) is None
    over = stats.samples_to_decide(0.08, 0.95, 0.05, 0.05, 10**6)
    assert math.floor(over * 0.08) >= stats.fail_count(over, 0.95, 0.05)


def test_median_deviation_drift_and_rule_of_three_have_known_answers() -> None:
    assert stats.median_deviation([1, 1, 2, 2, 4, 6, 9]) == 1
    assert stats.drift([100] * 3 + [7] * 3 + [110] * 3) == pytest.approx(0.1)
    assert stats.drift([100] * 4 + [500] * 4) == 0
    assert stats.unseen_rate(60, 0.95) == pytest.approx(3 / 60, rel=2e-3)


def test_a_weighted_median_has_half_of_the_weight_on_either_side() -> None:
    assert stats.weighted_median([5.0, 1.0, 3.0], [1.0, 1.0, 1.0]) == 3
    assert stats.weighted_median([1.0, 2.0, 3.0, 9.0], [1.0] * 4) == pytest.approx(2.5)
    assert stats.weighted_median([7.0], [0.2]) == 7
    # A value of little weight hardly moves it, one of much takes it over.
    assert stats.weighted_median([1.0, 2.0, 9.0], [1.0, 1.0, 0.01]) == pytest.approx(1.505)
    assert stats.weighted_median([1.0, 2.0, 9.0], [1.0, 1.0, 50.0]) == pytest.approx(2 + 7 * 24.5 / 25.5)
    assert stats.weighted_median([1.0, 2.0], [50.0, 1.0]) == pytest.approx(1 + 0.5 / 25.5)
    assert stats.weighted_median([1.0, 1.0, 2.0], [3.0, 3.0, 1.0]) == 1


def test_dispersion_is_the_variance_ratio_and_is_raised_only_above_its_threshold() -> None:
    assert stats.dispersion([5] * 10, [100] * 10) == 1
    assert (
        stats.dispersion([0] * 10, [100] * 10) == stats.dispersion([9] * 3, [9] * 3) == stats.dispersion([1], [9]) == 1
    )
    mild, wild = [4, 6, 5, 7, 3, 5, 8, 2, 5, 5], [20, 0, 0, 10, 0, 0, 15, 0, 5, 0]
    for counts in (mild, wild):
        share = sum(counts) / 1000
        pearson = sum((k - 100 * share) ** 2 for k in counts) / (100 * share * (1 - share))
        raised = pearson / scipy.stats.chi2.ppf(0.2, 9)
        expected = raised if pearson / 9 > 1.5 else max(1, pearson / 9)
        assert stats.dispersion(counts, [100] * 10) == pytest.approx(expected)
    assert stats.dispersion(wild, [100] * 10) > 9


def test_cluster_low_is_the_one_sided_t_bound() -> None:
    counts = [5, 9, 2, 7]
    shares = [count / 100 for count in counts]
    t = scipy.stats.t.ppf(0.95, 3)
    expected = sum(shares) / 4 - t * scipy.stats.sem(shares)
    assert stats.cluster_low(counts, [100] * 4, 0.05) == pytest.approx(expected)
    assert stats.cluster_low([5], [5], 0.05) == 0


def test_welch_interval_agrees_with_scipy() -> None:
    a, b = [1.0, 1.3, 0.9, 1.1], [1.6, 1.2, 1.9]
    difference, low, high = stats.welch_interval(a, b, 0.95)
    oracle = scipy.stats.ttest_ind(b, a, equal_var=False)
    interval = oracle.confidence_interval(0.95)
    assert difference == pytest.approx(sum(b) / 3 - sum(a) / 4)
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_welch_interval_of_constant_runs_has_no_width() -> None:
    assert stats.welch_interval([1.0, 1.0], [2.0, 2.0], 0.95) == (1, 1, 1)


def _burst_counts(rng: random.Random, segments: int, size: int, share: float, burst: float) -> list[int]:
    """Samples over the limit per segment, when they come in bursts of geometric length with mean `burst`."""
    gap = burst * (1 - share) / share

    def length(mean: float) -> int:
        return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean)) if mean > 1 else 1

    counts, position, total = [0] * segments, 0, segments * size
    over = rng.random() < share
    while position < total:
        end = min(position + length(burst if over else gap), total)
        if over:
            for place in range(position, end):
                counts[place // size] += 1
        position, over = end, not over
    return counts


def test_dispersion_repairs_false_passes_and_false_fails_under_bursts() -> None:
    rng, repeats, alpha = random.Random(20240), 500, 0.05
    plain_pass = mended_pass = plain_fail = mended_fail = 0
    for _ in range(repeats):
        counts = _burst_counts(rng, 10, 1000, 0.01, 10)
        n, over = 10_000, sum(counts)
        phi = stats.dispersion(counts, [1000] * 10)
        plain = over <= stats.pass_count(n, 0.99, alpha)
        allowed = stats.pass_count(int(n / phi), 0.99, alpha)
        plain_pass += plain
        mended_pass += plain and allowed is not None and math.ceil(over / phi) <= allowed
        fails = over >= stats.fail_count(n, 0.99, alpha)
        plain_fail += fails
        mended_fail += fails and stats.cluster_low(counts, [1000] * 10, alpha) > 0.01
    assert plain_pass / repeats > 0.3
    assert plain_fail / repeats > 0.2
    allowance = alpha + 3 * math.sqrt(alpha * (1 - alpha) / repeats)
    assert mended_pass / repeats <= allowance
    assert mended_fail / repeats <= allowance


def test_independent_samples_at_the_limit_pass_and_fail_no_more_often_than_promised() -> None:
    rng, repeats, alpha = random.Random(7), 1500, 0.05
    n, p, limit = 120, 0.95, 0.95
    passes = fails = 0
    for _ in range(repeats):
        samples = [round(rng.random() * 1e9) for _ in range(n)]
        low, high = stats.quantile_bounds(samples, p, alpha, alpha)
        passes += high <= limit * 1e9
        fails += low > limit * 1e9
    allowance = alpha + 3 * math.sqrt(alpha * (1 - alpha) / repeats)
    assert 0 < passes / repeats <= allowance
    assert 0 < fails / repeats <= allowance


def test_welch_on_run_medians_keeps_its_level_when_runs_differ() -> None:
    rng, repeats, alarms = random.Random(3), 600, 0
    for _ in range(repeats):
        arms = [[math.log(1 + rng.gauss(0, 0.03)) for _ in range(5)] for _ in range(2)]
        _, low, high = stats.welch_interval(arms[0], arms[1], 0.95)
        alarms += low > 0 or high < 0
    assert alarms / repeats <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)


def test_pass_count_for_a_million_samples_is_quick_and_right() -> None:
    k = stats.pass_count(1_000_000, 0.5, 0.05)
    assert scipy.stats.binom.cdf(k, 10**6, 0.5) <= 0.05 < scipy.stats.binom.cdf(k + 1, 10**6, 0.5)


def test_counts_rise_with_the_number_of_samples() -> None:
    counts = [stats.pass_count(n, 0.95, 0.05) or 0 for n in range(59, 400)]
    assert all(a <= b for a, b in itertools.pairwise(counts))
    assert median(counts) > 0
