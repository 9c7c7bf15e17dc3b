"""Two runs on the same tasks: interval of the difference, exact test, and Holm's correction for several.

A task's difference is ``d = mean of one run's trials - mean of the other's``; the mean of d over tasks is the
difference of the runs, with the standard error of paired values (Miller 2024, arXiv 2411.00640, section 4.2).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentbench.statistics.intervals import Interval, check_confidence
from agentbench.statistics.special import stdtr, stdtrit

if TYPE_CHECKING:
    from credit.steps import FloatArray
Integers = npt.NDArray[np.int64]

_LATTICE_WORK = 200_000_000  # additions that an exact distribution may cost: about a second
_ENUMERATE_UP_TO = 16  # differing tasks whose 2^n signs are all tried


@dataclass(frozen=True, slots=True)
class PairedTest:
    """What a test of no difference found.

    Attributes:
        p_value: chance of a mean difference as large as this one or larger, in either direction, if each task's
            difference were as likely to have had the other sign; in (0, 1].
        method: how it was computed, in words.
        differing: number of tasks, or of clusters of tasks, whose difference is not zero.
    """

    p_value: float
    method: str
    differing: int


def cluster_values(differences: npt.ArrayLike, clusters: npt.ArrayLike | None) -> FloatArray:
    """Return one value a cluster of tasks, whose mean is the mean difference over tasks and whose spread is its own.

    With S_c and m_c the sum and number of a cluster's differences, d their mean over all n tasks and G clusters:
    ``(S_c - d m_c) G/n + d``, the linear form of a ratio of sums (Cochran 1977, Sampling Techniques, section 6.3).
    Clusters of one size give the clusters' means.

    Args:
        differences: shape (tasks,).
        clusters: shape (tasks,), a label of each task's cluster; None: each task is its own.

    Returns:
        Shape (clusters,).
    """
    d = np.asarray(differences, dtype=np.float64)
    if clusters is None:
        return d
    sums, sizes = _cluster_sums(d, clusters)
    mean = float(d.mean())
    return np.asarray((sums - mean * sizes) * (len(sums) / len(d)) + mean)


def _cluster_sums(values: npt.NDArray[Any], clusters: npt.ArrayLike) -> tuple[npt.NDArray[Any], Integers]:
    _, codes, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    sums = np.zeros(len(sizes), dtype=values.dtype)
    np.add.at(sums, codes, values)
    return sums, sizes.astype(np.int64)


def paired_interval(
    differences: npt.ArrayLike,
    *,
    trials: float | None,
    noise: float = 0.0,
    clusters: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Return the mean difference over tasks, with its interval.

    For successes the interval is the one of Agresti and Min (2005) for paired shares: two tasks are added, of which
    one did not differ and one differed by half each way, so that few or no flips do not give an interval of no
    width. With K trials a task the added difference is ``1/√K`` rather than 1, as the noise of a task's mean is.
    Quantiles are Student's, with one less than the number of tasks (or clusters) as degrees of freedom.

    Args:
        differences: shape (tasks,), each in [-1, 1]; at least one.
        trials: K, the number of trials that a task's mean stands on; None for scores: nothing is added, and
            differences that are all equal give an interval of no width.
        noise: variance of the mean difference that is known to be there, at least 0: see :func:`noise_of_trials`.
        clusters: shape (tasks,), for tasks that come in families; None: they do not.
        confidence: of the interval.
    """
    check_confidence(confidence)
    estimate = float(np.mean(np.asarray(differences, dtype=np.float64)))
    centre, error, degrees = _centre_and_error(cluster_values(differences, clusters), trials, noise)
    half = stdtrit(degrees, 0.5 + confidence / 2) * error
    return Interval(estimate, max(-1.0, min(centre - half, estimate)), min(1.0, max(centre + half, estimate)))


def paired_student_test(
    differences: npt.ArrayLike, *, trials: float | None, noise: float = 0.0, clusters: npt.ArrayLike | None = None
) -> PairedTest:
    """Test that two runs do not differ by whether :func:`paired_interval` leaves out 0; arguments as there.

    For runs with different numbers of trials, whose differences are skewed even where the runs are equal: flipping
    signs would call them different too often.
    """
    values = cluster_values(differences, clusters)
    centre, error, degrees = _centre_and_error(values, trials, noise)
    differing = int(np.count_nonzero(np.abs(values) > 1e-12))
    if differing == 0:
        return PairedTest(1.0, "no task differs", 0)
    p = 2 * float(stdtr(degrees, -abs(centre) / error)) if error > 0 else 0.0
    return PairedTest(max(p, sys.float_info.min), "Student, numbers of trials differ", differing)


def noise_of_trials(variances: npt.ArrayLike, baseline_trials: npt.ArrayLike, other_trials: npt.ArrayLike) -> float:
    """Return the variance that the noise of trials alone gives the mean difference over tasks.

    ``Σ s² (1/n + 1/m) / tasks²``. With s² taken over the trials of both runs together, as two runs that do not differ
    have it, one run's few trials that all succeeded do not look like certainty.

    Args:
        variances: shape (tasks,), s², the unbiased variance of all trials of a task in both runs.
        baseline_trials, other_trials: shape (tasks,), n and m.
    """
    s2, n, m = (np.asarray(each, dtype=np.float64) for each in (variances, baseline_trials, other_trials))
    return float(np.sum(s2 * (1 / n + 1 / m))) / len(s2) ** 2


def _centre_and_error(values: FloatArray, trials: float | None, noise: float) -> tuple[float, float, int]:
    """Middle of the interval, its standard error and degrees of freedom."""
    added, squares = (0, 0.0) if trials is None else (2, 1.0 / trials)
    size = len(values) + added
    centre = float(values.sum()) / size
    spread = max((float(np.sum(values**2)) + squares) / size - centre**2, 0.0)
    if trials is None:
        spread *= size / max(size - 1, 1)
    return centre, math.sqrt(max(spread / size, noise)), max(len(values) - 1, 1)


def sign_flip_test(
    differences: npt.NDArray[np.integer] | npt.NDArray[np.floating],
    *,
    clusters: npt.ArrayLike | None = None,
    resamples: int = 20_000,
    seed: int = 0,
) -> PairedTest:
    """Test that two runs do not differ, by flipping the signs of the tasks' differences.

    Exact where it can be: the distribution of whole numbers is summed up completely (with differences of -1, 0 and
    1 that is McNemar's exact test), and up to 16 differing tasks have all their signs tried. Otherwise signs are
    drawn at random, and the p-value is ``(1 + as extreme) / (1 + drawn)`` (Phipson and Smyth 2010), never 0.

    Args:
        differences: shape (tasks,), of whole numbers (successes in a common number of trials) or floats (scores).
        clusters: shape (tasks,), for tasks that come in families, whose signs are flipped together; None: they do not.
        resamples: number of random draws, where it comes to that.
        seed: of the draws.
    """
    if clusters is not None:
        differences, _ = _cluster_sums(differences, clusters)
    sizes = np.sort(np.abs(differences[differences != 0]))
    differing = len(sizes)
    if differing == 0:
        return PairedTest(1.0, "no task differs", 0)
    if np.issubdtype(sizes.dtype, np.integer):
        steps = (sizes // np.gcd.reduce(sizes)).astype(np.int64)
        if int(steps.sum()) * differing <= _LATTICE_WORK:
            observed = abs(int(differences.sum())) // int(np.gcd.reduce(sizes))
            method = "exact McNemar" if int(np.abs(differences).max()) == 1 else "exact sign flip"
            return PairedTest(_lattice_p(steps, observed), method, differing)
    weights = sizes.astype(np.float64)
    # Sums that are equal by algebra differ by rounding, and must count as being as extreme.
    observed_sum = abs(float(differences.sum())) - 1e-9 * float(weights.sum())
    if differing <= _ENUMERATE_UP_TO:
        sums = np.zeros(1)
        for weight in weights:
            sums = np.concatenate([sums + weight, sums - weight])
        return PairedTest(float(np.mean(np.abs(sums) >= observed_sum)), "exact sign flip", differing)
    extreme = _random_extreme(weights, observed_sum, resamples, seed)
    return PairedTest((1 + extreme) / (1 + resamples), f"sign flip, {resamples} draws", differing)


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Return p-values adjusted for being several: Holm's step-down method (Holm 1979), each at most 1.

    Args:
        p_values: shape (tests,).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _lattice_p(steps: Integers, observed: int) -> float:
    """Chance that ``|Σ ± steps| >= observed``, by convolving one fair coin after the other."""
    reach = int(steps.sum())
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for step in steps:
        half = 0.5 * chance
        chance = np.zeros_like(half)
        chance[step:] += half[:-step]
        chance[:-step] += half[step:]
    sums = np.abs(np.arange(-reach, reach + 1))
    # Beyond a thousand tasks that all differ one way the chance is smaller than a float can be.
    return max(min(float(chance[sums >= observed].sum()), 1.0), sys.float_info.min)


def _random_extreme(weights: FloatArray, observed: float, resamples: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, 1000):
        signs = rng.integers(0, 2, size=(min(1000, resamples - start), len(weights)), dtype=np.int8) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ weights) >= observed))
    return extreme
