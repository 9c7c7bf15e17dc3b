"""Intervals for rates and means over tasks, clustered where episodes belong together.

The unit is the task: a task's trials are averaged first, and the rate is the mean over tasks, so every task counts
the same whatever number of its trials were lost to errors. The standard error is that of clustered means (Miller
2024, arXiv 2411.00640, section 2.2), and it becomes an interval through an effective sample size ``n``, the number
of independent episodes that would have had the same standard error (Korn and Graubard 1998, with Wilson's interval
instead of the exact one)::

    n = m (1 - m) / SE²,    then shortened by (z / t)² for having estimated SE from few tasks.

``n`` is kept between the number of tasks (all trials of a task say the same) and the number of episodes (trials say
as much as new tasks would): it cannot truly lie outside. So one trial a task gives Wilson's interval itself,
nothing leaves [0, 1], and 0 % or 100 % has an interval of honest width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agentbench.statistics.special import betaincinv, ndtri, stdtrit
from envs.base.errors import UserError

if TYPE_CHECKING:
    from credit.steps import FloatArray


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


def check_confidence(confidence: float) -> None:
    """Raise UserError unless ``0 < confidence < 1``."""
    if not 0.0 < confidence < 1.0:
        raise UserError(f"a confidence of {confidence:g} makes no interval: give one between 0 and 1 (say 0.95)")


def wilson(rate: float, size: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of Wilson's score interval of a rate (Wilson 1927).

    Args:
        rate: share of successes, 0 to 1.
        size: number of trials; may be an effective number and so not whole.
        confidence: share of such intervals that hold the true rate.
    """
    check_confidence(confidence)
    z = ndtri(0.5 + confidence / 2)
    shrink = 1.0 + z * z / size
    centre = (rate + z * z / (2 * size)) / shrink
    half = z / shrink * math.sqrt(rate * (1.0 - rate) / size + z * z / (4 * size * size))
    # The rate lies inside by algebra; the clipping takes away what rounding adds.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))


def clopper_pearson(rate: float, size: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of the exact interval of a rate (Clopper and Pearson 1934); arguments as for :func:`wilson`.

    With a size that is not whole the tails of the binomial are those of the beta distribution (Korn and Graubard 1998).
    """
    check_confidence(confidence)
    tail, won = (1.0 - confidence) / 2, rate * size
    lost = size - won
    low = betaincinv(won, lost + 1, tail) if won > 1e-9 else 0.0
    high = betaincinv(won + 1, lost, 1 - tail) if lost > 1e-9 else 1.0
    return min(low, rate), max(high, rate)


def clustered_standard_error(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> float:
    """Return the standard error of the mean of values that are alike within clusters.

    With ``r_i = v_i - mean(v)``: ``SE² = G/(G-1) · Σ_clusters (Σ_{i in cluster} r_i)² / n²`` (Miller 2024, equation
    of section 2.2; the factor for G clusters is the usual small-sample one and makes it the plain standard error of
    the mean when every value is a cluster of its own).

    Args:
        values: shape (n,).
        clusters: shape (n,), a label of each value's cluster; None: each is its own.

    Returns:
        The standard error; NaN for fewer than two clusters.
    """
    numbers = np.asarray(values, dtype=np.float64)
    residuals = numbers - numbers.mean()
    if clusters is not None:
        _, codes = np.unique(np.asarray(clusters), return_inverse=True)
        residuals = np.bincount(codes, weights=residuals)
    groups = len(residuals)
    if groups < 2:
        return math.nan
    return float(np.sqrt(groups / (groups - 1) * np.sum(residuals**2)) / len(numbers))


def rate_interval(
    rates: npt.ArrayLike,
    trials: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean over tasks of a rate of successes, with its interval.

    Args:
        rates: shape (tasks,), each task's share of successes, or another estimate of a probability from its trials.
        trials: shape (tasks,), how many trials each is the mean of.
        clusters: shape (tasks,), for tasks that come in families (AppWorld's scenarios); None: they do not.
        confidence: of the interval.
    """
    return _interval(np.asarray(rates, dtype=np.float64), float(np.sum(trials)), clusters, confidence, wilson)


def pass_interval(
    chances: npt.ArrayLike,
    trials: npt.ArrayLike,
    k: int,
    *,
    clusters: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean over tasks of pass@k or pass^k, with its interval.

    For k = 1 it is :func:`rate_interval`. Above that, the estimates of few tasks can lie far from the others, which a
    standard error misses where they are not in the sample, and the mean is often near 0 or 1. So n trials count as no
    more than n/k independent draws of k (the variance of such an estimate is at most k/n of one draw's: Hoeffding 1948,
    Annals of Mathematical Statistics 19, section 5), and the ends are exact: :func:`clopper_pearson`.

    Args:
        chances: shape (tasks,), each task's estimate, of :func:`agentbench.statistics.pass_at_k` or ``pass_hat_k``.
        trials: shape (tasks,), how many trials each stands on, at least k.
        k: at least 1.
        clusters: as for :func:`rate_interval`.
        confidence: of the interval.
    """
    if k == 1:
        return rate_interval(chances, trials, clusters=clusters, confidence=confidence)
    most = float(np.sum(trials)) / k
    return _interval(np.asarray(chances, dtype=np.float64), most, clusters, confidence, clopper_pearson)


def mean_interval(means: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, confidence: float = 0.95) -> Interval:
    """Return the mean over tasks of numbers from 0 to 1 (scores), with its interval.

    Like :func:`rate_interval`, but scores may lie closer together than successes and failures can, so the
    effective sample size has no upper end.
    """
    return _interval(np.asarray(means, dtype=np.float64), math.inf, clusters, confidence, wilson)


def _interval(
    values: FloatArray,
    most: float,
    clusters: npt.ArrayLike | None,
    confidence: float,
    ends: Callable[[float, float, float], tuple[float, float]],
) -> Interval:
    check_confidence(confidence)
    if len(values) == 0:
        return Interval(math.nan, 0.0, 1.0)
    mean = float(np.clip(values.mean(), 0.0, 1.0))
    groups = len(values) if clusters is None else len(np.unique(np.asarray(clusters)))
    size = float(groups)
    error = clustered_standard_error(values, clusters)
    if error > 1e-12:  # not NaN, and not zero but for rounding
        effective = min(mean * (1.0 - mean) / error**2, most)
        if effective > size:  # shortened, it is not more than the tasks otherwise
            z, t = ndtri(0.5 + confidence / 2), stdtrit(groups - 1, 0.5 + confidence / 2)
            size = max(effective * (z / t) ** 2, size)
    return Interval(mean, *ends(mean, size, confidence))
