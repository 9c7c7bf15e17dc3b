"""Measures of an estimated advantage x against the true one A, with 95 % intervals.

Tasks are drawn anew with all their groups, or the groups where there is only one task. The interval is Student's, with
the spread of these draws on a scale where it is even (arc sine of a correlation, a cosine or a root of a share, root of
what has no upper end), so that it stays in range; with n tasks, t has n - 1 degrees of freedom, and the spread is
widened by √(n/(n-1)), what drawing anew falls short. In simulations
with 5 and 8 tasks it covers 0.88 to 0.94 (``cosine_group`` on stored runs: 0.81 to 0.85), percentiles 0.77 to 0.88.

==================  ====================================================================================
``pearson``         correlation of x and A over all steps; ``spearman``: of their ranks
``kendall``         tau-b: of two steps, how much likelier x puts them in A's order than in the opposite one
``sign``            share of the steps with a clear A, and x other than 0, whose sign is right;
                    ``sign_success`` and ``sign_failure``: in episodes that succeeded, that failed
``zeros``           share of the steps with a clear A to which the scheme gives exactly 0
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
stands for it, cross-fitted: an episode's gradient is only multiplied with those of *other* episodes of its task, which
share neither its draws nor its visits. On the same steps everything agrees too well with the truth, even a constant.
The length of that gradient is cross-fitted too; where less than half of it is left, the cosines are left open.
``cosine`` takes off the scheme's own noise where every task has two groups, and else equals ``cosine_mean``.
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
from scipy.special import stdtrit

from agentbench.analysis.quality.ranks import kendall
from agentbench.analysis.quality.sample import Sample
from credit.steps import FloatArray, IntArray

CLEAR = 0.02
REPLICATES = 300
ENOUGH = 5
"""Fewest tasks, or groups of the only task, for an interval."""
MEASURES = (
    "pearson", "spearman", "kendall", "sign", "sign_success", "sign_failure", "zeros", "error", "bias", "variance",
    "cosine", "cosine_mean", "cosine_group", "snr",
)  # fmt: skip
UNBOUNDED = ("variance", "snr")
"""Measures from 0 on without an upper end."""


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval; NaN where it is not defined."""

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
    return {name: _interval(name, found[name], draws.units) for name in MEASURES}


@dataclass(frozen=True)
class _Draws:
    """Bootstrap samples: row 0 is the sample itself.

    Attributes:
        weights: how often each group counts, shape ``(replicates + 1, G)``.
        copies: in a product of two groups' numbers, the weight of each: a task drawn twice counts as two tasks.
        noise: how much of the groups' noise a row holds, shape ``(replicates + 1, 1)``: twice where groups of one
            task were drawn anew, once where whole tasks were.
        units: number of tasks, or of groups of the only task.
    """

    weights: FloatArray
    copies: FloatArray
    noise: FloatArray
    by_task: bool
    units: int


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
        return _Draws(weights, weights, noise, by_task, units)
    return _Draws(weights[:, of_group], np.sqrt(weights[:, of_group]), noise, by_task, units)


def _interval(name: str, values: FloatArray, units: int) -> Measure:
    finite = values[1:][np.isfinite(values[1:])]
    if units < ENOUGH or not np.isfinite(values[0]) or len(finite) < len(values) / 2:
        return Measure(float(values[0]), float("nan"), float("nan"))
    spread = float(_even(name, finite).std()) * np.sqrt(units / (units - 1))
    half = float(stdtrit(units - 1, 0.975)) * spread
    middle = float(_even(name, values[0]))
    low, high = (float(_back(name, end)) for end in (middle - half, middle + half))
    return Measure(float(values[0]), min(low, float(values[0])), max(high, float(values[0])))


_SHARES = ("sign", "sign_success", "sign_failure", "zeros", "error", "bias")


def _even(name: str, values: FloatArray | float) -> FloatArray:
    """Take a measure to the scale on which its spread is even."""
    numbers = np.asarray(values, dtype=np.float64)
    if name in UNBOUNDED:
        return np.sqrt(np.maximum(numbers, 0))
    if name in _SHARES:
        return np.asarray(np.arcsin(np.sqrt(np.clip(numbers, 0, 1))))
    return np.asarray(np.arcsin(np.clip(numbers, -1, 1)))


def _back(name: str, value: float) -> float:
    if name in UNBOUNDED:
        return float(max(value, 0.0) ** 2)
    if name in _SHARES:
        return float(np.sin(np.clip(value, 0, np.pi / 2)) ** 2)
    return float(np.sin(np.clip(value, -np.pi / 2, np.pi / 2)))


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
    said = clear & (x != 0)
    right = said & (np.sign(x) == np.sign(truth))
    apart = {"sign": np.ones_like(clear), "sign_success": sample.success, "sign_failure": ~sample.success}
    signs = {name: _ratio(total(1.0 * (right & rows)), total(1.0 * (said & rows))) for name, rows in apart.items()}
    return {
        "pearson": correlation(x, truth),
        "spearman": correlation(stats.rankdata(x), stats.rankdata(truth)),
        "kendall": kendall(x, truth, sample.group, weights),
        **signs,
        "zeros": _ratio(total((clear & ~said).astype(np.float64)), total(clear.astype(np.float64))),
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
        along, single, inner, length = _cross_fitted(sample, x, gradient, copies)
    raw, expected, ratio = _lengths(own, sample.task, draws)
    if expected[0] < raw[0] / 2:
        expected[0] = np.nan  # mostly noise: the direction of the expected gradient cannot be seen
    if sample.reference is None and np.bincount(sample.task).min() < 2:
        expected = raw
    one = _ratio(along, np.sqrt(np.diag(own)) * single, otherwise=0.0)
    silent = np.where(np.diag(own).sum() > 0, np.nan, 0.0)
    cosine = np.clip(_ratio(inner, np.sqrt(np.maximum(expected, 0)) * length, float(silent)), -1, 1)
    mean = _ratio(inner, np.sqrt(np.maximum(raw, 0)) * length, float(silent))
    return {
        "cosine": cosine,
        "cosine_mean": np.clip(mean, -1, 1),
        "cosine_group": np.clip(_ratio(weights @ one, weights @ (single > 0)), -1, 1),
        "snr": ratio,
    }


def _cross_fitted(
    sample: Sample, x: FloatArray, gradient: sparse.csr_array, copies: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Hold the groups' gradients against the true one of the same sample, without an episode against itself.

    The product of two groups' gradients is unbiased for that of their expectations. That of a group with itself becomes
    so without the products of an episode with itself, times n / (n - 1) for n episodes.

    Returns:
        for each group its product with the true gradient of its task, and the length of that, 0 where it is mostly
        noise or nothing, shape ``(G,)`` each; for each bootstrap sample the product of the sums, and the length of the
        true one, NaN where it is mostly noise.
    """
    true = group_gradients(sample, sample.truth)
    cross, plain = np.asarray((gradient @ true.T).todense()), np.asarray((true @ true.T).todense())
    exact, same = plain.copy(), sample.task[:, None] == sample.task
    for products, values in ((cross, x), (exact, sample.truth)):
        np.fill_diagonal(products, _between_episodes(sample, values, np.diag(products)))
        for lone in np.flatnonzero(np.isnan(np.diag(products))):  # of one episode: as it is with the rest of its task
            rest = same[lone] & (np.arange(sample.groups) != lone)
            products[lone, lone] = products[lone, rest].mean() if rest.any() else np.nan
    groups = same.sum(axis=1)
    along = (cross * same).sum(axis=1) / groups
    square, whole = ((same @ ((each * same).sum(axis=1))) / groups**2 for each in (exact, plain))
    single = np.where((square > 0) & (square >= whole / 2), np.sqrt(np.maximum(square, 0)), 0.0)
    inner, squares = (((copies @ each) * copies).sum(axis=1) for each in (cross, exact))
    if squares[0] < plain.sum() / 2:
        squares[0] = np.nan
    return along, single, inner, np.sqrt(np.maximum(squares, 0))


def _between_episodes(sample: Sample, x: FloatArray, products: FloatArray) -> FloatArray:
    """Take the products of an episode with itself off those of each group's gradient with its true one.

    Args:
        sample: its truth gives the other gradient.
        x: advantage that gives the one.
        products: of the two gradients of each group, shape ``(G,)``.

    Returns:
        shape ``(G,)``; NaN where a group has one episode.
    """
    assert sample.features is not None
    _, first, episode = np.unique(sample.episode, return_index=True, return_inverse=True)
    rows, group = np.arange(len(x)), sample.group[first]
    shape = len(first), len(x)
    one, other = (
        sparse.csr_array((values / sample.group_size, (episode, rows)), shape=shape) @ sample.features
        for values in (x, sample.truth)
    )
    itself = np.bincount(group, np.asarray(one.multiply(other).sum(axis=1)), minlength=sample.groups)
    count = np.bincount(group, minlength=sample.groups)
    found = np.full(sample.groups, np.nan)
    np.divide((products - itself) * count, count - 1, out=found, where=count > 1)
    return found


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
