"""Statistics of the gate, in plain Python: exact binomial bounds on percentiles, bursts, drift, ratios of run medians.

The question is always "is the quantile q_p of the latency at most T?", which is the same as "is the share of samples
over T at most 1 - p?". The number of samples over T is binomial, whatever the shape of the latencies, so the answer
needs no model of them. What it does need is independence; `dispersion` and `cluster_low` are for when that fails.

Source: the test for PASS is the one of MLPerf LoadGen's early stopping; order-statistic bounds are in David and
Nagaraja, Order Statistics, 7.1; the saddle-point form of binomial terms is Loader's (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean, median, variance
from typing import TypeVar

Number = TypeVar("Number", int, float)

_EPSILON = 1e-15
_TINY = 1e-300
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


# --- special functions -------------------------------------------------------------------------------------------


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), good to about 12 digits for a + b up to 1e7.

    Source: continued fraction DLMF 8.17.22, by Lentz's method.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below the mean
        return 1 - _beta_tail(b, a, 1 - x)
    return _beta_tail(a, b, x)


def _beta_tail(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction, change, m = d, 2.0, 0
    while abs(change - 1) > _EPSILON:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            change = c * d
            fraction *= change
    return fraction * _binomial_weight(a, b, x) * b / (a + b)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _binomial_weight(a: float, b: float, x: float) -> float:
    """C(a+b, a) x^a (1-x)^b without the cancellation that log-gamma suffers for large a and b."""
    n = a + b
    log_weight = _stirling_rest(n) - _stirling_rest(a) - _stirling_rest(b)
    log_weight -= _deviance(a, n * x) + _deviance(b, n * (1 - x))
    return math.exp(log_weight) * math.sqrt(n / (2 * math.pi * a * b))


def _stirling_rest(z: float) -> float:
    """log(z!) minus Stirling's formula."""
    if z < 15:
        return math.lgamma(z + 1) - (z + 0.5) * math.log(z) + z - _HALF_LOG_2PI
    w = 1 / (z * z)
    return (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - w / 1188) * w) * w) * w) / z


def _deviance(x: float, mean: float) -> float:
    """X log(x / mean) + mean - x, also where x is close to the mean."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total, power, j = (x - mean) * v, 2 * x * v, 1
    while True:
        power *= v * v
        step = power / (2 * j + 1)
        if total + step == total:
            return total
        total += step
        j += 1


def _root(function: Callable[[float], float], target: float) -> float:
    """The x >= 0 where the increasing `function` reaches `target`."""
    low, high = 0.0, 1.0
    while function(high) < target:
        low, high = high, high * 2
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if function(middle) < target:
            low = middle
        else:
            high = middle


@lru_cache(maxsize=256)
def student_t_quantile(probability: float, freedom: float) -> float:
    """The t that a Student variable with `freedom` degrees of freedom stays below with `probability` in (0, 1)."""
    if probability < 0.5:
        return -student_t_quantile(1 - probability, freedom)
    tail = 2 * (1 - probability)
    return _root(lambda t: -incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)), -tail)


@lru_cache(maxsize=256)
def chi_square_quantile(probability: float, freedom: float) -> float:
    """The value that a chi-square variable with `freedom` degrees of freedom stays below with `probability`."""

    def lower_gamma(x: float) -> float:
        if x <= 0:
            return 0.0
        shape, half = freedom / 2, x / 2
        term = total = math.exp(shape * math.log(half) - half - math.lgamma(shape + 1))
        n = 0
        while term > total * _EPSILON:
            n += 1
            term *= half / (shape + n)
            total += term
        return total

    return _root(lower_gamma, probability)


# --- binomial counts ---------------------------------------------------------------------------------------------


def binomial_at_most(k: int, n: int, q: float) -> float:
    """P(Bin(n, q) <= k)."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else incomplete_beta(n - k, k + 1, 1 - q)


def binomial_at_least(k: int, n: int, q: float) -> float:
    """P(Bin(n, q) >= k)."""
    if k <= 0:
        return 1.0
    return 0.0 if k > n else incomplete_beta(k, n - k + 1, q)


@lru_cache(maxsize=4096)
def pass_count(n: int, p: float, alpha: float) -> int | None:
    """The most samples of `n` that may lie over T while q_p <= T is still shown at level `alpha`; None: `n` is too few.

    Were q_p above T, a count this low would come up with probability `alpha` at most.
    """
    if n < 1 or binomial_at_most(0, n, 1 - p) > alpha:
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_at_most(middle, n, 1 - p) <= alpha else (low, middle)
    return low


@lru_cache(maxsize=4096)
def fail_count(n: int, p: float, alpha: float) -> int | None:
    """The fewest samples of `n` over T that show q_p > T at level `alpha`; None: `n` is too few to show it."""
    if n < 1 or binomial_at_least(n, n, 1 - p) > alpha:
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_at_least(middle, n, 1 - p) <= alpha else (middle, high)
    return high


def samples_needed(p: float, confidence: float, over: int = 0) -> int:
    """The fewest samples with which q_p <= T can be shown when `over` of them lie over T."""
    alpha = 1 - confidence
    low, high = over, over + 1
    while binomial_at_most(over, high, 1 - p) > alpha:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_at_most(over, middle, 1 - p) <= alpha else (middle, high)
    return high


def samples_to_decide(share_over: float, p: float, alpha_pass: float, alpha_fail: float, most: int) -> int | None:
    """About how many samples would decide, were `share_over` of them over T; None when more than `most`."""

    def decided(n: int) -> bool:
        allowed, proof = pass_count(n, p, alpha_pass), fail_count(n, p, alpha_fail)
        passes = allowed is not None and math.ceil(n * share_over) <= allowed
        return passes or (proof is not None and math.floor(n * share_over) >= proof)

    low, high = 0, 1
    while not decided(high):
        if high >= most:
            return None
        low, high = high, min(high * 2, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high


# --- quantiles and spread ----------------------------------------------------------------------------------------


def quantile(samples: Sequence[Number], p: float) -> Number:
    """The smallest observed value that at least the share `p` of `samples` (one or more) does not exceed."""
    rank = math.ceil(round(len(samples) * p, 6))  # 1000 * 0.999 is 999.0000000000001, which is rank 999, not 1000
    return sorted(samples)[min(max(rank, 1), len(samples)) - 1]


def quantile_bounds(
    samples: Sequence[int], p: float, alpha_pass: float, alpha_fail: float
) -> tuple[int | None, int | None]:
    """(low, high): observed values that q_p is at least (error `alpha_fail`) and at most (error `alpha_pass`).

    None stands for a side about which so few samples say nothing. high <= T exactly when at most `pass_count` samples
    are over T, low > T exactly when at least `fail_count` are.
    """
    ordered, n = sorted(samples), len(samples)
    allowed, proof = pass_count(n, p, alpha_pass), fail_count(n, p, alpha_fail)
    low = None if proof is None else ordered[n - proof]
    high = None if allowed is None else ordered[n - allowed - 1]
    return low, high


def median_deviation(values: Sequence[float]) -> float:
    """The median absolute deviation from the median."""
    centre = median(values)
    return median(abs(value - centre) for value in values)


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Where half of the `weights`, all above 0, lie below; the median if all are equal.

    Each value stands at the middle of its weight; between two it is in proportion.
    """
    ordered = sorted(zip(values, weights, strict=True))
    half, below, last = sum(weights) / 2, 0.0, None
    for value, weight in ordered:
        place = below + weight / 2
        if place >= half:
            return value if last is None else last[0] + (value - last[0]) * (half - last[1]) / (place - last[1])
        below, last = below + weight, (value, place)
    return ordered[-1][0]


def drift(samples: Sequence[int]) -> float:
    """How much the median of the last third is above that of the first, as a share; 0 for fewer than 9 samples."""
    third = len(samples) // 3
    return median(samples[-third:]) / median(samples[:third]) - 1 if third >= 3 else 0.0


def unseen_rate(exposure: float, confidence: float) -> float:
    """The highest rate of an event that never came up in `exposure`: the rule of three, 3 / exposure at 95 %."""
    return -math.log(1 - confidence) / exposure


# --- samples that are not independent ----------------------------------------------------------------------------


def dispersion(overs: Sequence[int], sizes: Sequence[int]) -> float:
    """How many samples carry the information of one independent sample; 1 when the segments show no bursts.

    `overs` of `sizes` samples are over the limit in each of 2 or more segments. The variance of the counts over that
    of binomial counts; raised to its 80 % upper bound once it exceeds 1.5.

    Source: the 1.5 and 80 % were chosen by simulation (bursts of 3, 10 and 30 samples in 10 segments of 1000).
    """
    share = sum(overs) / sum(sizes)
    freedom = len(overs) - 1
    if freedom < 1 or share in (0.0, 1.0):
        return 1.0
    pearson = sum((k - n * share) ** 2 / (n * share * (1 - share)) for k, n in zip(overs, sizes, strict=True))
    phi = max(1.0, pearson / freedom)
    return pearson / chi_square_quantile(0.2, freedom) if phi > 1.5 else phi


def cluster_low(overs: Sequence[int], sizes: Sequence[int], alpha: float) -> float:
    """A lower bound on the share over the limit, error `alpha`, when only whole segments are independent."""
    shares = [k / n for k, n in zip(overs, sizes, strict=True)]
    if len(shares) < 2:
        return 0.0
    error = math.sqrt(variance(shares) / len(shares))
    return fmean(shares) - student_t_quantile(1 - alpha, len(shares) - 1) * error


def welch_interval(a: Sequence[float], b: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """(difference, low, high) of mean(b) - mean(a), two values or more on each side, variances not assumed equal."""
    part_a, part_b = variance(a) / len(a), variance(b) / len(b)
    difference, squared = fmean(b) - fmean(a), part_a + part_b
    if squared == 0:
        return difference, difference, difference
    freedom = squared**2 / (part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1))
    half = student_t_quantile((1 + confidence) / 2, freedom) * math.sqrt(squared)
    return difference, difference - half, difference + half
