"""How far credit schemes agree on the same steps, and on which steps they differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from credit.steps import CreditError, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of k schemes; matrices are symmetric, float64 of shape ``(k, k)``.

    Attributes:
        names: the schemes.
        pearson, spearman: correlation over the steps, of values and of ranks, in [-1, 1]; NaN where a scheme says
            the same of every step.
        same_sign: share of the steps to which both give credit (not 0) where both give it the same sign, in [0, 1];
            NaN where there is no such step.
        zero_share, positive_share: share of steps with an advantage of exactly 0, and above 0, shape ``(k,)``.
        spread: standard deviation of a scheme's advantages, shape ``(k,)``.
        steps: number of steps.
    """

    names: tuple[str, ...]
    pearson: FloatArray
    spearman: FloatArray
    same_sign: FloatArray
    zero_share: FloatArray
    positive_share: FloatArray
    spread: FloatArray
    steps: int

    def pairs(self) -> pd.DataFrame:
        """One row a pair of schemes: scheme, other, pearson, spearman, same_sign."""
        one, other = np.triu_indices(len(self.names), k=1)
        names = np.array(self.names, dtype=object)
        measures = {name: getattr(self, name)[one, other] for name in ("pearson", "spearman", "same_sign")}
        return pd.DataFrame({"scheme": names[one], "other": names[other], **measures})


def agreement(advantages: Mapping[str, FloatArray]) -> Agreement:
    """Measure how far schemes agree.

    Args:
        advantages: of the same steps in the same order, by scheme, each of shape ``(n,)``, at least one step.

    Raises:
        CreditError: no schemes, no steps, or of unequal number.
    """
    values = _matrix(advantages)
    signs = np.sign(values)
    given = (signs != 0).astype(np.float64)
    # sums over steps where both are not 0: of s_i s_j it is (equal - opposite), of |s_i s_j| it is their number
    both, balance = given @ given.T, signs @ signs.T
    ranks = pd.DataFrame(values.T).rank().to_numpy().T
    with np.errstate(divide="ignore", invalid="ignore"):
        same_sign = (1.0 + balance / both) / 2.0
    return Agreement(
        names=tuple(advantages),
        pearson=_correlation(values),
        spearman=_correlation(ranks),
        same_sign=same_sign,
        zero_share=(signs == 0).mean(axis=1),
        positive_share=(signs > 0).mean(axis=1),
        spread=values.std(axis=1),
        steps=values.shape[1],
    )


def scaled(advantages: Mapping[str, FloatArray]) -> FloatArray:
    """Bring schemes to a common scale: each divided by the root of its mean square, shape ``(k, n)``; 0 stays 0."""
    values = _matrix(advantages)
    size = np.sqrt(np.square(values).mean(axis=1, keepdims=True))
    return np.asarray(np.divide(values, size, out=np.zeros_like(values), where=size > 0))


def largest_differences(
    advantages: Mapping[str, FloatArray], count: int, distinct: Sequence[IntArray] = ()
) -> IntArray:
    """Find the steps on which schemes differ most: the largest range of their scaled advantages.

    Args:
        advantages: by scheme, each of shape ``(n,)``.
        count: how many steps to return at most.
        distinct: columns of shape ``(n,)``; of steps that are equal in all of them only the first is returned.

    Returns:
        Rows, int64, the largest difference first; equal differences in the table's order. Steps on which all
        schemes agree up to rounding are left out.
    """
    values = scaled(advantages)
    difference = np.round(values.max(axis=0) - values.min(axis=0), 9)
    order = np.argsort(-difference, kind="stable")
    order = order[difference[order] > 0]
    if distinct:
        seen = pd.DataFrame({place: column[order] for place, column in enumerate(distinct)})
        order = order[~seen.duplicated().to_numpy()]
    return np.asarray(order[:count], dtype=np.int64)


def _matrix(advantages: Mapping[str, FloatArray]) -> FloatArray:
    lengths = {len(values) for values in advantages.values()}
    if not advantages or len(lengths) != 1 or 0 in lengths:
        raise CreditError("agreement needs at least one scheme, and one advantage of every scheme for each step")
    return np.array(list(advantages.values()), dtype=np.float64)


def _correlation(values: FloatArray) -> FloatArray:
    """Pearson's correlation of every two rows; NaN where a row is constant."""
    deviation = values - values.mean(axis=1, keepdims=True)
    deviation[np.abs(deviation).max(axis=1) <= 1e-12 * np.maximum(1.0, np.abs(values).max(axis=1))] = 0.0
    size = np.sqrt(np.square(deviation).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = deviation / size[:, None]
    return np.asarray(np.clip(unit @ unit.T, -1.0, 1.0))
