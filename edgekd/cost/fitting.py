"""Prices of collinear terms from few samples: shrunk towards a simple form, as much as left-out samples ask for.

A latency is a sum of terms times prices that cannot be negative. Twelve terms and twelve samples leave the prices
undecided, so a backbone is given: few sums of terms with known weights, say one overhead, so much per layer and so much
per MAC. What departs from the backbone is penalised, and the penalty is chosen by leaving out one sample at a time;
fits of several penalties are averaged by how well they did. Errors count as ratios, wild ones with less weight.
Source: generalised ridge regression (Hoerl, Kennard 1970); iterated weights of Huber (1964); averaging by left-out
errors as in Yao et al. 2018, arXiv:1704.02030.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.nnls import Floats, nnls
from edgekd.stats import student_t_quantile

Flags = NDArray[np.bool_]

OUTLIER_SHARE = 5  # at most one sample in five is set aside
OUTLIER_RATIO = 6.0  # of the median error of all
STARTS = 300  # for three of a backbone and one bad sample in five, half of the starts are free of bad ones
OUTLIER_LEAST = 0.25  # and never a sample that is closer than this to the fit of the others
PENALTIES: Floats = np.logspace(-4, 0, 5)  # per sample, in squared shares of the latency; a decade apart (our choice)
TOWARDS_SIMPLE = 0.5  # a penalty ten times smaller must be sqrt(10) times as likely to weigh the same (our choice)
ROUNDS = 6  # of iterated weights; the prices move by less than 0.1 % after that
HUBER = 2.5  # residuals beyond this many deviations count linearly, not squared
LEAST_DEVIATION = 0.02  # pairs repeat to 2 % at best, so no residual below is wild
LEAST_SHARE = 0.1  # of the mean share: how freely a term outside the backbone departs from none
MOST_FOLDS = 100  # of more samples several are left out together
RIDGE = 1e-7  # decides between terms that nothing else tells apart
NORMAL_MAD = 1.4826  # deviation over median absolute deviation of normal values


@dataclass(frozen=True)
class Found:
    """The prices of the terms, and what the left-out samples say of them.

    `root` gives the leverage of a row of features x that is predicted as m: |x root / m|². `errors` are
    ln(measured / predicted) of each sample by the fit of all others, `leverages` theirs there.
    `freedom` is how many samples are left when each price that had to be found takes one.
    Shapes: `prices` (terms), `root` (terms, terms), `errors` and `leverages` (samples).
    """

    prices: Floats
    root: Floats
    errors: Floats
    leverages: Floats
    freedom: float


@dataclass(frozen=True)
class Learnt:
    """What `learnt` gives, in plain numbers.

    `sizes` are the left-out errors of the samples kept, freed from their leverage. `freedom` is that of `Found`.
    """

    prices: tuple[float, ...]
    root: tuple[tuple[float, ...], ...]
    sizes: tuple[float, ...]
    freedom: float
    aside: tuple[bool, ...]


def learnt(
    features: Sequence[Sequence[float]],
    values: Sequence[float],
    backbone: Sequence[Sequence[float]],
    confirmed: Sequence[bool],
) -> Learnt:
    """The fit of the samples that agree. Those far from the backbone as from the fit of the others are set aside.

    Shapes: `features` (samples, terms), `values` and `confirmed` (samples), `backbone` (terms, sums).
    """
    rows, measured, sums = np.array(features), np.array(values), np.array(backbone)
    sums = sums[:, : max(1, len(measured) - 1)]
    aside = _suspects(backbone_errors(rows, measured, sums), np.array(confirmed))
    found = penalised(rows[~aside], measured[~aside], sums)
    if aside.any():
        still = aside & _contradicts(found, rows, measured)
        if (still != aside).any():
            aside = still
            found = penalised(rows[~aside], measured[~aside], sums)
    sizes = np.abs(found.errors) / np.sqrt(1 + found.leverages)
    return Learnt(
        tuple(found.prices.tolist()),
        tuple(map(tuple, found.root.tolist())),
        tuple(sizes.tolist()),
        found.freedom,
        tuple(aside.tolist()),
    )


def _suspects(errors: Floats, confirmed: Flags) -> Flags:
    """The samples that the backbone tells least well, if they stand out."""
    sizes = np.where(confirmed, 0.0, np.abs(errors - np.median(errors)))
    limit = max(OUTLIER_RATIO * float(np.median(sizes)), OUTLIER_LEAST)
    most = len(errors) // OUTLIER_SHARE
    ranks = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    return np.asarray((sizes > limit) & (ranks < most))


def _contradicts(found: Found, rows: Floats, measured: Floats) -> Flags:
    """The samples further from a fit than its left-out errors and their own leverage explain."""
    predicted = np.maximum(rows @ found.prices, 1e-300)
    leverages = np.square(rows @ found.root).sum(axis=1) / np.square(predicted)
    usual = float(np.median(np.abs(found.errors) / np.sqrt(1 + found.leverages)))
    # Few samples may agree by luck: Student's quantile says by how much more a further one may then be off.
    luck = student_t_quantile(0.99, max(1.0, found.freedom)) / student_t_quantile(0.99, 1000)
    limit = np.maximum(OUTLIER_RATIO * usual * luck * np.sqrt(1 + leverages), OUTLIER_LEAST)
    return np.asarray(np.abs(np.log(measured / predicted)) > limit)


def penalised(features: Floats, values: Floats, backbone: Floats) -> Found:
    """The averaged fit of `values` by `features`, shrunk towards the columns of `backbone`.

    Shapes: `features` (samples, terms), `values` (samples), `backbone` (terms, sums).
    """
    count = len(values)
    relative, scales = _shares(features, values)
    sums = _unit_sums(backbone, scales)
    penalty = _penalty(relative, sums)
    whole, weights = _solved(relative, np.ones((len(PENALTIES), count), dtype=bool), penalty, PENALTIES * count)
    folds = np.arange(count) % MOST_FOLDS
    others = folds != np.arange(min(count, MOST_FOLDS))[:, None]
    strengths = np.repeat(PENALTIES, len(others)) * np.tile(others.sum(axis=1), len(PENALTIES))
    left_out, _ = _solved(relative, np.tile(others, (len(PENALTIES), 1)), penalty, strengths)
    predicted = np.einsum("psk,sk->ps", left_out.reshape(len(PENALTIES), len(others), -1)[:, folds], relative)
    votes = _votes(-np.log(np.maximum(predicted, 1e-6)))
    strength = float(np.exp(votes @ np.log(PENALTIES))) * count
    precision = (relative * (votes @ weights)[:, None]).T @ relative + strength * penalty
    precision += RIDGE * np.eye(len(scales))
    root = np.linalg.inv(np.linalg.cholesky(precision)).T
    inside = np.square(relative @ root).sum(axis=1)
    return Found(
        prices=(votes @ whole) / scales,
        root=root / scales[:, None],
        errors=-np.log(np.maximum(votes @ predicted, 1e-6)),
        leverages=inside / np.maximum(1 - inside, 1e-3),  # what it was before the sample itself was added
        freedom=float((1 - inside).sum()),
    )


def steady_errors(features: Floats, values: Floats, backbone: Floats, steady: Flags) -> Floats:
    """ln(measured / predicted) of every sample by one fit of the `steady` ones, for samples by the thousand."""
    relative, scales = _shares(features[steady], values[steady])
    penalty = _penalty(relative, _unit_sums(backbone, scales))
    found, _ = _solved(relative, np.ones((1, len(relative)), dtype=bool), penalty, PENALTIES[:1] * len(relative))
    return -_log_predicted(features / values[:, None] / scales, found[0])


def backbone_errors(features: Floats, values: Floats, backbone: Floats) -> Floats:
    """ln(measured / predicted) of every sample by the backbone alone, fitted so that no few samples can bend it."""
    relative, scales = _shares(features, values)
    columns = relative @ _unit_sums(backbone, scales)
    return -_log_predicted(columns, _least_trimmed(columns))


def _shares(features: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Features over measured values, scaled to a mean of 1, and the scales."""
    relative = features / values[:, None]
    scales = relative.mean(axis=0)
    scales[scales <= 0] = 1.0
    return relative / scales, scales


def _unit_sums(backbone: Floats, scales: Floats) -> Floats:
    sums = backbone * scales[:, None]
    return np.asarray(sums / sums.sum(axis=0))


def _penalty(relative: Floats, sums: Floats) -> Floats:
    """The quadratic form that is 0 for prices made of `sums`, and weighs departures of a term by its share in them."""
    columns = relative @ sums
    shares = sums @ _least_trimmed(columns)
    latitude = np.sqrt(shares * (shares > 0).sum() + LEAST_SHARE)
    basis, _ = np.linalg.qr(sums / latitude[:, None])
    outside = np.eye(len(latitude)) - basis @ basis.T
    return np.asarray(outside / np.outer(latitude, latitude))


def _solved(relative: Floats, used: Flags, penalty: Floats, strengths: Floats) -> tuple[Floats, Floats]:
    """The shares, and the last weights, of every problem: the samples it uses and the strength of its penalty.

    (1 - m)² / m of a prediction m in units of the measured value punishes twice as much and half as much alike.
    Shapes: `used` (problems, samples), `strengths` (problems); (problems, terms) and (problems, samples).
    """
    forced = strengths[:, None, None] * penalty + RIDGE * np.eye(relative.shape[1])
    products = relative[:, :, None] * relative[:, None, :]
    weights = robust = used.astype(float)
    shares = np.zeros((len(used), relative.shape[1]))
    for _ in range(ROUNDS):
        gram = np.tensordot(weights, products, axes=1) + forced
        shares = nnls(gram, weights @ relative)
        logs = _log_predicted(relative, shares.T).T
        deviation = NORMAL_MAD * np.nanmedian(np.where(used, np.abs(logs), np.nan), axis=1, keepdims=True)
        limit = HUBER * np.maximum(deviation, LEAST_DEVIATION)
        robust = used * np.minimum(1.0, limit / np.maximum(np.abs(logs), 1e-12))
        weights = robust * np.exp(-logs)
    return shares, robust


def _least_trimmed(columns: Floats) -> Floats:
    """The x >= 0 whose |ln| of `columns` x is least in sum over all samples but the worst, for few columns.

    Begun from many fits to as few samples as there are columns, since bad samples draw any fit of all to themselves.
    Source: FAST-LTS, Rousseeuw, Van Driessen 2006.
    """
    count, width = columns.shape
    kept = count - count // OUTLIER_SHARE
    subsets = np.array(list(islice(combinations(range(count), width), STARTS + 1)))
    if len(subsets) > STARTS:
        rng = np.random.default_rng(0)
        subsets = np.array([rng.choice(count, width, replace=False) for _ in range(STARTS)])
    used = np.zeros((len(subsets), count))
    np.put_along_axis(used, subsets, 1.0, axis=1)
    products = columns[:, :, None] * columns[:, None, :]
    found, logs = np.zeros((len(subsets), width)), np.zeros((len(subsets), count))
    for _ in range(ROUNDS):
        weights = used * np.exp(-logs)
        found = nnls(np.tensordot(weights, products, axes=1) + RIDGE * np.eye(width), weights @ columns)
        logs = _log_predicted(columns, found.T).T
        used = (np.argsort(np.argsort(np.abs(logs), axis=1), axis=1) < kept).astype(float)
    trimmed = np.sort(np.abs(logs), axis=1)[:, :kept].sum(axis=1)
    return np.asarray(found[int(np.argmin(trimmed))])


def _log_predicted(relative: Floats, shares: Floats) -> Floats:
    return np.asarray(np.log(np.clip(relative @ shares, 1e-3, 1e3)))


def _votes(errors: Floats) -> Floats:
    """The weight of each penalty by its left-out `errors`. Shapes: (penalties, samples); (penalties)."""
    count = errors.shape[1]
    sizes = np.abs(errors)
    cap = 3 * max(NORMAL_MAD * float(np.median(sizes, axis=1).min()), LEAST_DEVIATION)
    means = np.square(np.minimum(sizes, cap)).mean(axis=1) + 1e-12
    logs = TOWARDS_SIMPLE * np.log(PENALTIES) - count / 2 * np.log(means)
    votes = np.exp(logs - logs.max())
    return np.asarray(votes / votes.sum())
