"""Intervals, the bootstrap over networks, and rank correlations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

ROUNDING = 1e-12  # values of order one that differ by less are equal


class Estimate(NamedTuple):
    """A value and its interval; all NaN where they cannot be computed. `resamples`: how many the interval rests on."""

    value: float
    low: float
    high: float
    resamples: int


NOT_COMPUTABLE = Estimate(np.nan, np.nan, np.nan, 0)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rho along the last axis, ties at their mean rank; NaN where x or y is constant.

    `scipy.stats.spearmanr` does one pair of samples at a time; this does all resamples at once and agrees with it.

    Args:
        x, y: (..., points), of one shape.
    Returns:
        (...).
    """
    a, b = stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1)
    middle = (a.shape[-1] + 1) / 2  # the mean rank, exact, so that constants give exactly zero below
    a, b = a - middle, b - middle
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def pooled_rho(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Spearman's rho over all points of resampled networks, as a statistic for `bootstrap`.

    The same number as `rank_correlation` of the resample's points: the rank of a value is the weight of the values
    below it, and half that of those equal to it. Sums of halves are exact in floating point, so the two agree to the
    last bit; this one needs no sorting.

    Args:
        x, y: (networks, classes), of one shape.
    Returns:
        (resamples, networks) how often each network was drawn -> (resamples,) rho, NaN where x or y is constant.
    """
    networks, classes = x.shape

    def below(values: np.ndarray) -> np.ndarray:  # (networks, points): what each network adds to the rank of each point
        flat = values.ravel()
        less = (flat[:, None] < flat) + 0.5 * (flat[:, None] == flat)
        return less.reshape(networks, classes, flat.size).sum(axis=1)

    below_x, below_y = below(x), below(y)

    def rho(counts: np.ndarray) -> np.ndarray:
        middle = counts.sum(axis=1, keepdims=True) * classes / 2  # the mean rank, less the half that `below` leaves out
        a, b = counts @ below_x - middle, counts @ below_y - middle  # (resamples, points)
        weights = np.repeat(counts, classes, axis=1)
        scale = np.sqrt((weights * a * a).sum(-1) * (weights * b * b).sum(-1))
        return np.divide((weights * a * b).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)

    return rho


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    clusters: np.ndarray,
    seed: np.random.SeedSequence,
    resamples: int,
    confidence: float,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Estimate:
    """A statistic and its interval, by resampling clusters of networks with replacement.

    The interval is value -+ t * sqrt(N / df) * e, cut to `bounds`: e is the standard deviation over the resamples, N
    the number of clusters, df = N - 1, t the quantile of Student's t with df degrees of freedom. The root undoes the
    bootstrap's bias; for a plain mean all of it is the t interval of that mean. Why not percentiles: see
    memrnn.analysis.correlate.

    A resample in which the statistic is undefined (all values tied) is left out of e and not counted. Where there are
    not two clusters, or no resample differs from another, there is a value without an interval (NaN): networks that
    happen to agree are no certainty. Where the statistic itself is undefined there is none.

    Args:
        statistic: (resamples, networks) how often each network was drawn -> (resamples,) values, NaN where undefined.
        clusters: (networks,) seed of each network.
        seed: stream of the resampling; the same stream and clusters draw the same resamples.
        resamples: how many to draw.
        confidence: coverage aimed at, as a share.
        bounds: least and greatest value that the statistic can have; by default a correlation's.
    """
    names, member = np.unique(clusters, return_inverse=True)
    value = float(statistic(np.ones((1, len(clusters)), dtype=np.int64))[0]) if len(clusters) else np.nan
    if len(names) < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan, 0)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    replicates = statistic(times[:, member])  # (resamples,)
    replicates = replicates[~np.isnan(replicates)]
    if len(replicates) < 2:
        return Estimate(value, np.nan, np.nan, 0)
    spread = replicates.std(ddof=1)
    if spread <= ROUNDING:
        return Estimate(value, np.nan, np.nan, len(replicates))
    freedom = len(names) - 1
    half = stats.t.ppf((1 + confidence) / 2, freedom) * spread * np.sqrt(len(names) / freedom)
    return Estimate(value, max(value - half, bounds[0]), min(value + half, bounds[1]), len(replicates))


def bootstrap_mean(
    values: np.ndarray,
    clusters: np.ndarray,
    seed: np.random.SeedSequence,
    resamples: int,
    confidence: float,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Estimate:
    """`bootstrap` of a mean over networks, of those that have a value.

    Args:
        values: (networks,), NaN where a network has none.
    """
    defined = ~np.isnan(values)
    single = values[defined]
    return bootstrap(
        lambda times: times @ single / times.sum(axis=1), clusters[defined], seed, resamples, confidence, bounds
    )


def mean_interval(
    values: Sequence[float],
    confidence: float,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    step: float | None = None,
) -> tuple[float, float, float]:
    """Mean with Student's t interval, cut to what is possible; one value has no interval, and none no mean (NaN).

    Args:
        values: one per network.
        confidence: coverage of the interval, as a share.
        bounds: least and greatest possible mean.
        step: smallest difference that two values can have, if there is one; see below.
    Returns:
        mean, low, high. That values are equal does not make their mean certain: with a `step`, the interval is no
        narrower than if all but one were equal and that one a step off; without, equal values have none.
    """
    mean = float(np.mean(values)) if len(values) else np.nan
    if len(values) < 2:
        return mean, np.nan, np.nan
    error = float(stats.sem(values))
    if step is not None:
        error = max(error, step / len(values))
    elif np.ptp(values) <= ROUNDING:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return mean, max(mean - half, bounds[0]), min(mean + half, bounds[1])


def spread_interval(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Standard deviation (n - 1) with its chi-squared interval; NaN for fewer than two values, no interval for equal.

    Args:
        values: one per network.
        confidence: coverage of the interval, as a share.
    Returns:
        standard deviation, low, high.
    """
    if len(values) < 2:
        return np.nan, np.nan, np.nan
    freedom = len(values) - 1
    spread = float(np.std(values, ddof=1))
    if np.ptp(values) <= ROUNDING:
        return spread, np.nan, np.nan
    tails = stats.chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], freedom)
    low, high = spread * np.sqrt(freedom / tails)
    return spread, float(low), float(high)


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Median without an interval, which so few networks do not give; NaN for no value.

    Args:
        values: one per network.
    Returns:
        median, NaN, NaN.
    """
    return (float(np.median(values)) if len(values) else np.nan), np.nan, np.nan
