"""Several schemes against one, with trained seeds as the unit: difference, equality, and how many seeds it takes.

A run's result is one number. A scheme's seeds are a sample of the runs that it would give; the tasks that a policy was
judged on add to the spread of seeds and need no test of their own. The tests are

*   Dunnett's (1955, Journal of the American Statistical Association 50, 1096-1121) for a difference: every scheme
    against the first, with the spread of seeds pooled over all schemes, and simultaneous intervals. The statistics
    ``T_i = (m_i - m_0) / (s √(1/n_i + 1/n_0))`` have, given s, correlations ``λ_i λ_j`` with
    ``λ_i = √(n_i / (n_i + n_0))``, so that ::

        P(max |T| < c) = ∫∫ Π_i [Φ((c s + λ_i z) / √(1-λ_i²)) - Φ((-c s + λ_i z) / √(1-λ_i²))] φ(z) dz f(s) ds

    with f the density of ``√(χ²_ν / ν)``. The integral is summed up by Gauss and Legendre's rule: no random numbers.
*   two one-sided tests (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680) for being equal
    within a margin, corrected for the number of schemes by Holm's method. Not having found a difference is no tie.

Runs of one seed start from the same weights and see the same tasks, which may or may not make them alike. Where an
F test finds that they are (at 1 %, so that looking does not add to the false alarms), seeds are blocks: their means are
taken out, and ``(k-1)(n-1)`` degrees of freedom are left instead of ``k(n-1)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agentbench.statistics.intervals import check_confidence
from agentbench.statistics.paired import holm
from agentbench.statistics.special import ndtr, stdtr
from envs.base.errors import UserError

if TYPE_CHECKING:
    from credit.steps import FloatArray

BLOCK_LEVEL = 0.01
"""Level of the F test that decides whether seeds are blocks."""
MARGIN = 0.05
"""Difference below which two schemes count as equal, where nothing else is said: 5 points."""
_NODES = 32
_FAR = 30.0


@dataclass(frozen=True, slots=True)
class SeedTests:
    """Every scheme but the first against the first; arrays are of shape (schemes - 1,).

    Attributes:
        difference: mean over seeds minus that of the first.
        low, high: simultaneous intervals (Dunnett); NaN where no spread is known.
        p_differs: of no difference, corrected for the number of schemes (Dunnett); NaN where no spread is known.
        p_equal: of a difference of at least the margin, by two one-sided tests, corrected by Holm's method.
        verdict: ``better``, ``worse``, ``tie`` (equal within the margin) or ``not decided``.
        spread: standard deviation of a seed about its scheme's mean, pooled; where seeds are blocks, about the scheme's
            and the seed's; NaN where no scheme has two seeds.
        degrees: of freedom of the spread.
        correlation: of two schemes over seeds (intraclass, from the two-way table); NaN where seeds are missing.
        paired: whether seeds are blocks.
    """

    difference: FloatArray
    low: FloatArray
    high: FloatArray
    p_differs: FloatArray
    p_equal: FloatArray
    verdict: tuple[str, ...]
    spread: float
    degrees: int
    correlation: float
    paired: bool


def compare_seeds(values: npt.ArrayLike, *, margin: float = MARGIN, confidence: float = 0.95) -> SeedTests:
    """Compare every scheme with the first one, with seeds as the unit.

    Args:
        values: shape (seeds, schemes), at least two schemes; NaN where a run is missing. Schemes are compared on all
            their seeds; pairing takes the same seeds of every scheme.
        margin: difference below which schemes count as equal, above 0, in the units of ``values``.
        confidence: of the simultaneous intervals; 1 - confidence is the level of both tests over the family of schemes.

    Raises:
        UserError: a margin that is not above 0, a confidence outside 0 to 1, or a scheme without a run.
    """
    check_confidence(confidence)
    if not 0.0 < margin < math.inf:
        raise UserError(f"a margin of {margin:g} makes no test of equality: give one above 0 (0.05 is five points)")
    table = np.asarray(values, dtype=np.float64)
    counts = np.isfinite(table).sum(axis=0)
    if counts.min() < 1:
        raise UserError("a scheme without a finished run cannot be compared")
    means = np.nanmean(table, axis=0)
    difference = means[1:] - means[0]
    correlation, is_block = _alike_over_seeds(table)
    squares, degrees = _spread(table, means, is_block)
    spread = math.sqrt(squares / degrees) if degrees > 0 else math.nan
    if not spread > 0:  # one seed a scheme, or seeds that all agree: nothing is known of other seeds
        nothing = np.full(len(difference), np.nan)
        open_ = ("not decided",) * len(difference)
        return SeedTests(difference, nothing, nothing, nothing, nothing, open_, spread, degrees, correlation, is_block)
    shape = tuple(int(count) for count in counts)
    error = spread * np.sqrt(1 / counts[1:] + 1 / counts[0])
    half = dunnett_quantile(confidence, shape, degrees) * error
    p_differs = 1 - dunnett_cdf(np.abs(difference) / error, shape, degrees)
    p_equal = holm(stdtr(degrees, (np.abs(difference) - margin) / error))
    alpha = 1 - confidence
    verdict = tuple(
        ("better" if d > 0 else "worse") if p < alpha else "tie" if q < alpha else "not decided"
        for d, p, q in zip(difference, p_differs, p_equal, strict=True)
    )
    return SeedTests(
        difference, difference - half, difference + half, p_differs, p_equal, verdict, spread, degrees, correlation,
        is_block,
    )  # fmt: skip


def _alike_over_seeds(table: FloatArray) -> tuple[float, bool]:
    """Intraclass correlation of the schemes over seeds, and whether it is above 0 beyond chance (one-sided F)."""
    from scipy.special import fdtrc

    seeds, schemes = table.shape
    if seeds < 2 or not np.isfinite(table).all():
        return math.nan, False
    rest = table - table.mean(axis=0)
    between = schemes * float(np.sum(rest.mean(axis=1) ** 2)) / (seeds - 1)
    within = float(np.sum((rest - rest.mean(axis=1, keepdims=True)) ** 2)) / ((seeds - 1) * (schemes - 1))
    if between + within == 0:
        return math.nan, False
    correlation = (between - within) / (between + (schemes - 1) * within)
    if within == 0:
        return correlation, False  # nothing is left to measure a spread by
    return correlation, float(fdtrc(seeds - 1, (seeds - 1) * (schemes - 1), between / within)) < BLOCK_LEVEL


def _spread(table: FloatArray, means: FloatArray, is_block: bool) -> tuple[float, int]:
    """Sum of squares about the means, of the blocks too if there are any, and its degrees of freedom."""
    rest = table - means
    if is_block:
        rest = rest - rest.mean(axis=1, keepdims=True)
        return float(np.sum(rest**2)), (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(np.nansum(rest**2)), int(np.isfinite(table).sum()) - table.shape[1]


# -- Dunnett's distribution --------------------------------------------------------------------------------


def dunnett_cdf(bounds: npt.ArrayLike, counts: Sequence[int], degrees: int) -> FloatArray:
    """Return the chance that no |T_i| exceeds each bound when no scheme differs from the first.

    Args:
        bounds: shape (n,), at least 0.
        counts: number of seeds of each scheme, the first one's first.
        degrees: of freedom of the pooled spread, at least 1.
    """
    z, weight_z, s, weight_s = _nodes(degrees)
    found = []
    sizes, repeats = np.unique(np.asarray(counts[1:]), return_counts=True)
    for bound in np.atleast_1d(np.asarray(bounds, dtype=np.float64)):
        inside = np.ones((len(s), len(z)))
        for size, repeat in zip(sizes, repeats, strict=True):
            load = math.sqrt(size / (size + counts[0]))
            rest = math.sqrt(1 - load**2)
            reach, shift = bound * s[:, None] / rest, load * z[None, :] / rest
            inside *= (ndtr(reach + shift) - ndtr(shift - reach)) ** repeat
        found.append(float(weight_s @ inside @ weight_z))
    return np.clip(found, 0.0, 1.0)


@lru_cache(maxsize=1000)
def dunnett_quantile(confidence: float, counts: tuple[int, ...], degrees: int) -> float:
    """Return the bound that no |T_i| exceeds with this chance; arguments as for :func:`dunnett_cdf`."""
    from scipy.optimize import brentq

    return float(brentq(lambda bound: dunnett_cdf(bound, counts, degrees)[0] - confidence, 0.0, 1e4, xtol=1e-9))


@lru_cache(maxsize=100)
def _nodes(degrees: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Places and weights of the two integrals: the common normal value z and the spread s, each summing up to 1."""
    from scipy.special import gammaln
    from scipy.stats import chi2

    x, w = np.polynomial.legendre.leggauss(_NODES)
    z = 4.0 * (x + 1)  # z and -z give the same: half of the axis is enough
    weight_z = w * np.exp(-(z**2) / 2)
    ends = np.sqrt(chi2.ppf([1e-12, 1 - 1e-12], degrees) / degrees)
    s = ends[0] + (ends[1] - ends[0]) * (x + 1) / 2
    constant = degrees / 2 * math.log(degrees / 2) + math.log(2) - gammaln(degrees / 2)
    density = np.exp(constant + (degrees - 1) * np.log(s) - degrees * s**2 / 2)
    weight_s = density * w * (ends[1] - ends[0]) / 2
    return z, weight_z / weight_z.sum(), s, weight_s / weight_s.sum()


# -- how many seeds ----------------------------------------------------------------------------------------


def seed_power(difference: float, seeds: int, spread: float, schemes: int, *, alpha: float = 0.05) -> float:
    """Return the chance that Dunnett's test finds a scheme that differs from the first by this much.

    ``P(|T| > c)`` with T of the noncentral t distribution with ``ν = schemes·(seeds-1)`` degrees of freedom and
    noncentrality ``difference / (spread √(2/seeds))``, and c Dunnett's bound.

    Args:
        difference: true difference, not 0, in the units of ``spread``.
        seeds: of each scheme, at least 2.
        spread: standard deviation of a seed about its scheme's mean, above 0.
        schemes: with the first one, at least 2.
        alpha: false alarms over the family of schemes.

    Raises:
        UserError: a value outside its range.
    """
    from scipy.stats import nct

    if schemes < 2:
        raise UserError(f"{schemes} schemes cannot be compared: give at least 2, the one compared with among them")
    if seeds < 2:
        raise UserError(f"{seeds} seeds have no spread: give at least 2")
    if not spread > 0 or not math.isfinite(spread):
        raise UserError(f"a spread of seeds of {spread:g} leaves nothing to plan: give one above 0 (0.03 is 3 points)")
    if not abs(difference) > 0 or not math.isfinite(difference):
        raise UserError("a difference of 0 cannot be looked for: give one above 0 (0.05 is five points)")
    check_confidence(1 - alpha)
    degrees = schemes * (seeds - 1)
    bound = dunnett_quantile(1 - alpha, (seeds,) * schemes, degrees)
    away = abs(difference) / (spread * math.sqrt(2 / seeds))
    # SciPy's noncentral distribution gives NaN far out in a tail: there the chance of T > c is 1, of T < -c it is 0.
    above = float(nct.sf(bound, degrees, away)) if away < _FAR else 1.0
    return min(1.0, above + float(np.nan_to_num(nct.cdf(-bound, degrees, away))))


def seeds_needed(
    difference: float, spread: float, schemes: int, *, power: float = 0.8, alpha: float = 0.05, most: int = 10_000
) -> int:
    """Return how many seeds each scheme needs for a true difference to be found with this power.

    Arguments as for :func:`seed_power`; ``power`` between ``alpha`` and 1.

    Raises:
        UserError: a value outside its range, or more than ``most`` seeds are needed.
    """
    if not alpha < power < 1.0:
        raise UserError(f"a power of {power:g} cannot be had: give one between alpha ({alpha:g}) and 1 (say 0.8)")
    low, high = 1, 2
    while seed_power(difference, high, spread, schemes, alpha=alpha) < power:
        low, high = high, 2 * high
        if high > most:
            raise UserError(f"more than {most} seeds would be needed to see {difference:g}: look for a larger one")
    while high - low > 1:
        middle = (low + high) // 2
        if seed_power(difference, middle, spread, schemes, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def smallest_seed_difference(
    seeds: int, spread: float, schemes: int, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Return the smallest true difference that is found with this power; arguments as for :func:`seeds_needed`."""
    from scipy.optimize import brentq

    if not alpha < power < 1.0:
        raise UserError(f"a power of {power:g} cannot be had: give one between alpha ({alpha:g}) and 1 (say 0.8)")
    seed_power(spread, seeds, spread, schemes, alpha=alpha)  # checks the values

    def missing(size: float) -> float:
        return seed_power(size * spread, seeds, spread, schemes, alpha=alpha) - power

    return float(brentq(missing, 1e-6, _FAR * math.sqrt(2 / seeds), xtol=1e-6)) * spread


def pooled_spread(values: npt.ArrayLike) -> tuple[float, int]:
    """Return the standard deviation of a seed about its scheme's mean, and its degrees of freedom.

    Args:
        values: shape (seeds, schemes); NaN where a run is missing.

    Raises:
        UserError: no scheme has two seeds.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, np.isfinite(table).any(axis=0)]
    squares, degrees = _spread(table, np.nanmean(table, axis=0), is_block=False)
    if degrees < 1:
        raise UserError("no scheme has two finished seeds, so their spread is not known: train 2 or 3 seeds first")
    return math.sqrt(squares / degrees), degrees


def spread_limit(spread: float, degrees: int, confidence: float = 0.8) -> float:
    """Return the upper end of the spread's one-sided interval, from χ² with ``degrees`` degrees of freedom."""
    from scipy.stats import chi2

    check_confidence(confidence)
    return spread * math.sqrt(degrees / float(chi2.ppf(1 - confidence, degrees)))
