"""BNPO: outcomes in [0, 1] less the group's mean, divided by a Beta density that follows the batch's success rates.

Equation: A_i = (s_i - p_g) min(1 / Beta(p_g; alpha, beta), max_weight),   alpha = 1 + a / 3,   beta = 1 + b / 3
    a = n m,   b = n (1 - m),   n = m (1 - m) / v - 1
Symbols: s_i outcome of episode i, scaled to [0, 1]; p_g mean outcome of group g; m and v mean and variance of p_g
    over the batch's groups; Beta(p; alpha, beta) density. alpha and beta are at least 1.
Source: BNPO, Beta normalisation policy optimisation (arXiv 2506.02864); its release, recipe/bnpo.
Cost: none
Use: outcomes in [0, 1], success rates that drift during training
Evidence: code

alpha = beta = 1 is REINFORCE with a baseline, alpha = beta = 3/2 is GRPO's division by sqrt(p (1 - p)) up to a
constant. Where the batch defines no Beta distribution (fewer than two groups, or all p_g equal) alpha = beta = 1.
"""

from __future__ import annotations

from math import lgamma
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from credit.grouping import Groups
from credit.normalize import Singleton, normalize_within
from credit.returns import outcomes
from credit.scheme import Amount, Positive, scheme
from credit.steps import CreditError, FloatArray, Steps


@scheme(
    claims=("zero_without_reward", "zero_when_equal", "zero_when_alone"),
    compat={"released": {"singleton": "raw"}},
)
def bnpo(
    steps: Steps,
    *,
    min_value: Amount = 0.0,
    max_value: Amount = 1.0,
    alpha: Annotated[float, Field(ge=1, le=1e6)] | None = None,
    beta: Annotated[float, Field(ge=1, le=1e6)] | None = None,
    max_weight: Positive = 1e6,
    singleton: Singleton = "zero",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """BNPO advantage of every step.

    Args:
        steps: the step table.
        min_value, max_value: outcomes that are scaled to 0 and 1.
        alpha, beta: of the Beta density, at least 1; from the batch's groups by default.
        max_weight: bound of 1 / density.
        singleton: a group of one gives 0 and does not count for alpha and beta; or has p = 0 (released).
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.

    Raises:
        CreditError: an outcome outside [min_value, max_value], where the method is not defined.
    """
    if min_value >= max_value:
        raise CreditError(f"bnpo: min_value {min_value} must be below max_value {max_value}")
    outcome = (outcomes(steps) - min_value) / (max_value - min_value)
    if (outside := (outcome < -1e-9) | (outcome > 1 + 1e-9)).any():
        worst = outcome[np.argmax(outside)] * (max_value - min_value) + min_value
        raise CreditError(
            f"bnpo is defined for outcomes in [{min_value:g}, {max_value:g}], but an episode earned {worst:g}: "
            "set min_value and max_value to the least and largest outcome"
        )
    of_episode = Groups.by(steps.group[steps.starts])
    rate = of_episode.mean(outcome)
    alone = of_episode.size == 1
    if singleton == "raw":
        rate[alone] = 0.0
    fitted = _beta_parameters(rate if singleton == "raw" else rate[~alone])
    weight = 1.0 / np.maximum(
        _beta_density(rate, fitted[0] if alpha is None else alpha, fitted[1] if beta is None else beta),
        1.0 / max_weight,
    )
    deviation = normalize_within(outcome, of_episode, normalize="mean", singleton=singleton)
    return steps.per_step(deviation * weight[of_episode.code])


def _beta_parameters(rate: FloatArray) -> tuple[float, float]:
    """Parameters of least variance for groups with these success rates, by the method of moments."""
    if len(rate) < 2:
        return 1.0, 1.0
    mean, variance = float(rate.mean()), float(rate.var(ddof=1))
    if variance <= 1e-12:
        return 1.0, 1.0
    weight = mean * (1.0 - mean) / variance - 1.0
    return max(1.0, 1.0 + weight * mean / 3.0), max(1.0, 1.0 + weight * (1.0 - mean) / 3.0)


def _beta_density(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    if alpha < 1.0 or beta < 1.0:
        raise CreditError(f"bnpo: alpha and beta must be at least 1, got {alpha} and {beta}")
    x = np.clip(x, 0.0, 1.0)
    constant = lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
    # in logarithms, because the constant alone may be too large for a float; 0 log 0 is 0
    with np.errstate(divide="ignore"):
        left = (alpha - 1.0) * np.log(x) if alpha > 1.0 else np.zeros_like(x)
        right = (beta - 1.0) * np.log1p(-x) if beta > 1.0 else np.zeros_like(x)
    return np.asarray(np.exp(constant + left + right))
