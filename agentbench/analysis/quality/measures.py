"""Measures of an estimated advantage x against the true one A, with bootstrap intervals.

Tasks are drawn anew with all their groups, or the groups where there is only one task.

==================  ====================================================================================
``pearson``         correlation of x and A over all steps; ``spearman``: of their ranks
``sign``            share of the steps with a clear A whose sign is right, 0 counting as wrong;
                    ``sign_success`` and ``sign_failure``: in episodes that succeeded, that failed
``error``           mean (c x - A)² / mean A², with the c that makes it least; 1 is what x = 0 has
``bias``            what of that would stay if x were averaged over endlessly many groups: 1 - P² / (M S) with
                    P = mean A E[x | cell], M = mean E[x | cell]², S = mean A²
``variance``        noise of x at the scale c = P / M at which that is so: c² mean Var(x | cell) / S; can exceed 1
``cosine``          of the scheme's expected policy gradient with the exact one
``cosine_mean``     the same, of the mean gradient of these groups, whose noise is not taken off
``cosine_group``    mean over groups of the cosine of one group's gradient with the exact one, if that is not 0
``snr``             squared length of the expected gradient over the variance of one group's gradient
==================  ====================================================================================

A group's gradient is the mean over its episodes of sum_t x_t d log pi(a_t | o_t) / d logits, with a softmax of its own
for every observation. Where the exact gradient is not known (a stored run), the one that the true advantages give
on the same steps stands for it in every cosine, and ``cosine`` equals ``cosine_mean``.
A cell is a situation, a step and an action, so A is one number there; ``bias`` and ``variance`` are over the cells
that at least two groups visited. The mean of G noisy gradients is longer than their expectation by variance / G:
that is taken off in ``cosine`` and ``snr``, and in ``bias`` and ``variance`` likewise; where more than half would be
taken off, ``cosine``, ``bias`` and ``variance`` are left open. A clear A is beyond 0.02 and beyond twice its standard
error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from agentbench.analysis.quality.sample import Sample
from credit.steps import FloatArray, IntArray

CLEAR = 0.02
REPLICATES = 300
ENOUGH = 5
"""Fewest tasks, or groups of the only task, for an interval."""
MEASURES = (
    "pearson", "spearman", "sign", "sign_success", "sign_failure", "error", "bias", "variance",
    "cosine", "cosine_mean", "cosine_group", "snr",
)  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % bootstrap interval; NaN where it is not defined."""

    estimate: float
    low: float
    high: float


def measure(sample: Sample, x: FloatArray, seed: int = 0, replicates: int = REPLICATES) -> dict[str, Measure]:
    """Measure an estimate.

    Args:
        sample: what is true.
        x: estimated advantage, shape ``(n,)``.
        seed: of the bootstrap.
        replicates: number of bootstrap samples: of the tasks, or of the groups if there is one task.

    Returns:
        :data:`MEASURES` by name.
    """
    draws = _resample(sample.task, replicates, seed)
    found = _pooled(sample, x, draws.weights) | _bias_and_variance(sample, x, draws) | _gradients(sample, x, draws)
    return {name: _interval(found[name], draws.enough) for name in MEASURES}


@dataclass(frozen=True)
class _Draws:
    """Bootstrap samples: row 0 is the sample itself.

    Attributes:
        weights: how often each group counts, shape ``(replicates + 1, G)``.
        copies: in a product of two groups' numbers, the weight of each: a task drawn twice counts as two tasks.
        noise: how much of the groups' noise a row holds, shape ``(replicates + 1, 1)``: twice where groups of one
            task were drawn anew, once where whole tasks were.
        enough: whether there are enough of them for an interval.
    """

    weights: FloatArray
    copies: FloatArray
    noise: FloatArray
    by_task: bool
    enough: bool


def _resample(task: IntArray, replicates: int, seed: int) -> _Draws:
    """Draw tasks anew with all their groups, or the groups of the only task."""
    draw = np.random.default_rng([seed, len(task)])
    tasks, of_group = np.unique(task, return_inverse=True)
    by_task = len(tasks) > 1
    units = len(tasks) if by_task else len(task)
    drawn = draw.multinomial(units, np.full(units, 1 / units), size=replicates).astype(float)
    weights = np.concatenate([np.ones((1, units)), drawn])
    noise = np.full((replicates + 1, 1), 1.0 if by_task else 2.0)
    noise[0] = 1.0
    if not by_task:
        return _Draws(weights, weights, noise, by_task, enough=units >= ENOUGH)
    return _Draws(weights[:, of_group], np.sqrt(weights[:, of_group]), noise, by_task, enough=units >= ENOUGH)


def _interval(values: FloatArray, enough: bool) -> Measure:
    finite = values[1:][np.isfinite(values[1:])]
    if not enough or not np.isfinite(values[0]) or len(finite) < len(values) / 2:
        return Measure(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.025, 0.975])
    return Measure(float(values[0]), float(low), float(high))


# -- numbers of pooled steps -------------------------------------------------------------------------------


def _pooled(sample: Sample, x: FloatArray, weights: FloatArray) -> dict[str, FloatArray]:
    def total(values: FloatArray) -> FloatArray:
        """Weighted sum of a value a row, for every replicate."""
        return np.asarray(weights @ np.bincount(sample.group, values, minlength=sample.groups))

    def correlation(a: FloatArray, b: FloatArray) -> FloatArray:
        if a.std() < 1e-15 or b.std() < 1e-15:
            return np.zeros(len(weights))
        a, b, count = (a - a.mean()) / a.std(), (b - b.mean()) / b.std(), total(np.ones(len(a)))
        mean_a, mean_b = total(a) / count, total(b) / count
        both = total(a * b) / count - mean_a * mean_b
        spread = (total(a * a) / count - mean_a**2) * (total(b * b) / count - mean_b**2)
        return _ratio(both, np.sqrt(np.maximum(spread, 0)))

    truth = sample.truth
    clear = np.abs(truth) > np.maximum(CLEAR, 2 * sample.standard_error)
    right = clear & (np.sign(x) == np.sign(truth))
    apart = {"sign": np.ones_like(clear), "sign_success": sample.success, "sign_failure": ~sample.success}
    signs = {name: _ratio(total(1.0 * (right & rows)), total(1.0 * (clear & rows))) for name, rows in apart.items()}
    return {
        "pearson": correlation(x, truth),
        "spearman": correlation(stats.rankdata(x), stats.rankdata(truth)),
        **signs,
        "error": 1 - _ratio(total(x * truth) ** 2, total(x * x) * total(truth * truth), otherwise=0.0),
    }


def _ratio(above: FloatArray, below: FloatArray, otherwise: float = np.nan) -> FloatArray:
    """Divide, with ``otherwise`` where the divisor is not positive."""
    return np.divide(above, below, out=np.full_like(above, otherwise), where=below > 1e-300)


# -- bias and variance ---------------------------------------------------------------------------------------


def _bias_and_variance(sample: Sample, x: FloatArray, draws: _Draws) -> dict[str, FloatArray]:
    """Bias and variance over the cells; see the module's text."""
    weights = draws.weights
    _, cell = np.unique(sample.cell, return_inverse=True)
    shape = sample.groups, int(cell.max()) + 1

    def table(values: FloatArray) -> sparse.csr_array:
        """Sum of a value a row, by group and cell."""
        return sparse.csr_array(sparse.coo_array((values, (sample.group, cell)), shape=shape))

    count, total = table(np.ones(len(x))), table(x)
    visits = np.asarray((count > 0).sum(axis=0)).ravel()
    kept = np.flatnonzero(visits >= 2)
    if not len(kept):
        nothing = np.full(len(weights), np.nan)
        return {"bias": nothing, "variance": nothing}
    count, total = count.tocsc()[:, kept].tocsr(), total.tocsc()[:, kept].tocsr()
    squares, truths, along = (table(v).tocsc()[:, kept].tocsr() for v in (x**2, sample.truth**2, x * sample.truth))
    n, s = weights @ count, weights @ total
    mean = np.divide(s, n, out=np.zeros_like(s), where=n > 0)
    # Variance of a cell's mean over groups: steps of one group are not independent of each other.
    spread = weights @ (total * total) - 2 * mean * (weights @ (total * count)) + mean**2 * (weights @ (count * count))
    groups = visits[kept]
    noise = np.divide(spread, n**2, out=np.zeros_like(s), where=n > 0) * (groups / (groups - 1))
    if draws.by_task:
        noise = np.broadcast_to(noise[0], noise.shape)  # a cell belongs to one task, and comes whole or not at all
    size, product, square = ((weights @ part).sum(axis=1) for part in (truths, along, squares))
    whole, signal = (n * mean**2).sum(axis=1), (n * (mean**2 - noise * draws.noise)).sum(axis=1)
    if not square[0]:
        return {"bias": np.ones(len(weights)), "variance": np.zeros(len(weights))}
    if signal[0] < whole[0] / 2:
        signal[0] = np.nan
    return {
        "bias": np.maximum(0, 1 - _ratio(product**2, signal * size)),
        "variance": _ratio(product, signal) ** 2 * _ratio(np.maximum(0, square - signal), size),
    }


# -- the policy gradient ---------------------------------------------------------------------------------------


def _gradients(sample: Sample, x: FloatArray, draws: _Draws) -> dict[str, FloatArray]:
    weights, copies = draws.weights, draws.copies
    names = ("cosine", "cosine_mean", "cosine_group", "snr")
    if sample.features is None:
        return {name: np.full(len(weights), np.nan) for name in names}
    gradient = group_gradients(sample, x)
    own = np.asarray((gradient @ gradient.T).todense())
    if sample.reference is not None:
        along = gradient @ sample.reference  # <g_i, exact>
        length = np.full(len(weights), float(np.linalg.norm(sample.reference)))
        inner, single = weights @ along, np.full(sample.groups, float(np.linalg.norm(sample.reference)))
    else:
        true = group_gradients(sample, sample.truth)
        cross, exact = np.asarray((gradient @ true.T).todense()), np.asarray((true @ true.T).todense())
        along, single = np.diag(cross), np.sqrt(np.diag(exact))
        inner = ((copies @ cross) * copies).sum(axis=1)
        length = np.sqrt(np.maximum(((copies @ exact) * copies).sum(axis=1), 0))
    raw, expected, ratio = _lengths(own, sample.task, draws)
    if expected[0] < raw[0] / 2:
        expected[0] = np.nan  # mostly noise: the direction of the expected gradient cannot be seen
    if sample.reference is None:
        expected = raw
    one = _ratio(along, np.sqrt(np.diag(own)) * single, otherwise=0.0)
    silent = np.where(np.diag(own).sum() > 0, np.nan, 0.0)
    cosine = np.clip(_ratio(inner, np.sqrt(np.maximum(expected, 0)) * length, float(silent)), -1, 1)
    return {
        "cosine": cosine,
        "cosine_mean": _ratio(inner, np.sqrt(np.maximum(raw, 0)) * length, 0.0),
        "cosine_group": _ratio(weights @ one, weights @ (single > 0)),
        "snr": ratio,
    }


def group_gradients(sample: Sample, x: FloatArray) -> sparse.csr_array:
    """Policy gradient that each group's advantages give, shape ``(G, P)``."""
    assert sample.features is not None
    rows = np.arange(len(x))
    spread = sparse.csr_array((x / sample.group_size, (sample.group, rows)), shape=(sample.groups, len(x)))
    return sparse.csr_array(spread @ sample.features)


def _lengths(own: FloatArray, task: IntArray, draws: _Draws) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Squared length of the sum of all gradients, of its expectation, and the signal-to-noise ratio.

    Args:
        own: inner products of the groups' gradients, shape ``(G, G)``; those of different tasks share no logits.
        task: of each group.
        draws: bootstrap samples.
    """
    member = (task[:, None] == np.unique(task)).astype(float)
    groups = member.sum(axis=0)
    whole = ((draws.copies @ own) * draws.copies) @ member
    squares = (draws.weights * np.diag(own)) @ member
    raw = whole.sum(axis=1)
    if groups.min() < 2:
        nothing = np.full(len(raw), np.nan)
        return raw, nothing, nothing
    variance = (squares - whole / groups) / (groups - 1)  # of one group's gradient, in each task
    noise = groups * variance * draws.noise
    expected = (whole - noise).sum(axis=1)
    signal = ((whole - noise) / groups).sum(axis=1)
    return raw, expected, _ratio(np.maximum(signal, 0), (groups * variance).sum(axis=1), otherwise=0.0)
