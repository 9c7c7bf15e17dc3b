"""Two runs on the same tasks: interval of the difference, exact test, and Holm's correction for several.

A task's difference is ``d = mean of one run's trials - mean of the other's``; the mean of d over tasks is the
difference of the runs, with the standard error of paired values (Miller 2024, arXiv 2411.00640, section 4.2).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from agentbench.statistics.intervals import Interval, check_confidence

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
        differing: number of tasks whose difference is not zero.
    """

    p_value: float
    method: str
    differing: int


def paired_interval(differences: npt.ArrayLike, *, trials: float | None, confidence: float = 0.95) -> Interval:
    """Return the mean difference over tasks, with its interval.

    For successes the interval is the one of Agresti and Min (2005) for paired shares: two tasks are added, of which
    one did not differ and one differed by half each way, so that few or no flips do not give an interval of no
    width. With K trials a task the added difference is ``1/√K`` rather than 1, as the noise of a task's mean is.
    Quantiles are Student's, with one less than the number of tasks as degrees of freedom.

    Args:
        differences: shape (tasks,), each in [-1, 1]; at least one.
        trials: K, the number of trials that a task's mean stands on; None for scores: nothing is added, and
            differences that are all equal give an interval of no width.
        confidence: of the interval.
    """
    check_confidence(confidence)
    d = np.asarray(differences, dtype=np.float64)
    estimate = float(d.mean())
    added, squares = (0, 0.0) if trials is None else (2, 1.0 / trials)
    size = len(d) + added
    centre = float(d.sum()) / size
    spread = max((float(np.sum(d**2)) + squares) / size - centre**2, 0.0)
    if trials is None:
        spread *= size / max(size - 1, 1)
    t = float(stdtrit(max(len(d) - 1, 1), 0.5 + confidence / 2))
    half = t * math.sqrt(spread / size)
    return Interval(estimate, max(-1.0, min(centre - half, estimate)), min(1.0, max(centre + half, estimate)))


def sign_flip_test(
    differences: npt.NDArray[np.integer] | npt.NDArray[np.floating], *, resamples: int = 20_000, seed: int = 0
) -> PairedTest:
    """Test that two runs do not differ, by flipping the signs of the tasks' differences.

    Exact where it can be: the distribution of whole numbers is summed up completely (with differences of -1, 0 and
    1 that is McNemar's exact test), and up to 16 differing tasks have all their signs tried. Otherwise signs are
    drawn at random, and the p-value is ``(1 + as extreme) / (1 + drawn)`` (Phipson and Smyth 2010), never 0.

    Args:
        differences: shape (tasks,), of whole numbers (successes in a common number of trials) or floats (scores).
        resamples: number of random draws, where it comes to that.
        seed: of the draws.
    """
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
