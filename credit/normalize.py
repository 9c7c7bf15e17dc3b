"""Normalising within groups: deviation from the group's mean, divided by its standard deviation or not.

    A = (x - mean) / (std + epsilon)      normalize="std"
    A =  x - mean                         normalize="mean"

Three conventions on which papers and code disagree are arguments here and options of the schemes:

``weighting``      which rows are a group's samples: the first of each episode (``trajectories``), or all
                   (``rows``: an episode counts as often as it has steps)
``singleton``      a group of one sample gives 0 (``zero``), or its own value with mean 0 and std 1 (``raw``)
``zero_variance``  a row that differs from samples that are all equal gives 0 (``zero``), or its deviation
                   divided by epsilon (``epsilon``: what released code does, values near -100,000)
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from credit.grouping import Groups
from credit.steps import FloatArray, IntArray, Steps

Weighting = Literal["trajectories", "rows"]
Normalize = Literal["std", "mean"]
Singleton = Literal["zero", "raw"]
ZeroVariance = Literal["zero", "epsilon"]

SNAP = 1e-12
"""A deviation of at most SNAP * max(1, largest |x| of the group) is rounding, and becomes exactly 0."""


def normalize_within(
    values: FloatArray,
    groups: Groups,
    *,
    samples: IntArray | None = None,
    normalize: Normalize = "std",
    ddof: int = 1,
    epsilon: float = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
) -> FloatArray:
    """Normalise every row by the mean and standard deviation of its group's samples.

    Args:
        values: shape ``(n,)``.
        groups: the groups of the n rows.
        samples: rows whose values make up the statistics; every row by default.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton, zero_variance: see the module's text.

    Returns:
        float64 of shape ``(n,)``.
    """
    sampled, of_samples = (values, groups) if samples is None else (values[samples], groups.rows(samples))
    alone = of_samples.size <= max(1, ddof)
    mean = of_samples.mean(sampled)
    if singleton == "raw":
        mean[alone] = 0.0
    tolerance = SNAP * np.maximum(1.0, groups.largest(values))
    deviation = _deviation(values, mean, tolerance, groups)
    scale = np.ones(groups.count)
    if normalize == "std":
        spread = deviation if samples is None else _deviation(sampled, mean, tolerance, of_samples)
        std = np.sqrt(of_samples.sum(np.square(spread)) / np.where(alone, 1, of_samples.size - ddof))
        divisor = np.where(alone, 1.0, std) + epsilon
        scale = np.divide(1.0, divisor, out=np.zeros(groups.count), where=divisor > 0.0)
        if zero_variance == "zero":
            scale[(std == 0.0) & ~alone] = 0.0
    if singleton == "zero":
        scale[alone] = 0.0
    scaled = groups.of_rows(deviation)  # in place: fresh memory costs more than the arithmetic
    scaled *= groups.of_groups(scale)
    scaled += 0.0  # turns -0.0 into 0.0
    return scaled.reshape(-1)


def whiten(values: FloatArray, weights: NDArray[Any], *, ddof: int = 1, epsilon: float = 1e-8) -> FloatArray:
    """Bring values to mean 0 and variance 1 over the whole batch: (x - mean) / sqrt(var + epsilon).

    Args:
        values: any shape.
        weights: how often each value counts, same shape: a mask, or a number of tokens.
        ddof: the variance divides by the total weight minus this.
        epsilon: added to the variance, inside the root.

    Returns:
        float64 of the same shape; all 0 where the total weight is no more than ``ddof``.
    """
    weights = weights.astype(np.float64)
    total = weights.sum()
    if total <= max(1, ddof):
        return np.zeros_like(values)
    mean = (values * weights).sum() / total
    deviation = values - mean
    deviation -= (deviation * weights).sum() / total  # takes the rounding of the first sum out again
    deviation[np.abs(deviation) <= SNAP * max(1.0, float(np.abs(values * (weights > 0)).max()))] = 0.0
    variance = (weights * np.square(deviation)).sum() / (total - ddof)
    if variance + epsilon == 0.0:
        return np.zeros_like(values)
    return np.asarray(deviation / np.sqrt(variance + epsilon) + 0.0)


def without_rounding(deviation: FloatArray, values: FloatArray, groups: Groups, units: float = 1.0) -> FloatArray:
    """Set deviations to exactly 0 that are no more than rounding (:data:`SNAP`).

    Args:
        deviation: of each value from something made of its group's, shape ``(n,)``; changed in place.
        values: what it was made of, same shape.
        groups: of the values.
        units: how many times :data:`SNAP` is rounding, after longer sums.

    Returns:
        ``deviation``.
    """
    deviation[np.abs(deviation) <= units * SNAP * np.maximum(1.0, groups.largest(values))[groups.code]] = 0.0
    return deviation


def samples_of(steps: Steps, weighting: Weighting) -> IntArray | None:
    """Rows that are the samples of a group's statistics under a weighting, None for all; for rows in order."""
    return steps.starts if weighting == "trajectories" and len(steps.starts) < len(steps) else None


def _deviation(values: FloatArray, mean: FloatArray, tolerance: FloatArray, groups: Groups) -> FloatArray:
    deviation: FloatArray = groups.of_rows(values) - groups.of_groups(mean)
    if (is_rounding := np.abs(deviation) <= groups.of_groups(tolerance)).any():
        deviation[is_rounding] = 0.0
    return deviation.reshape(-1)
