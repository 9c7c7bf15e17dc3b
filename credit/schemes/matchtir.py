"""MatchTIR: an episode's outcome, and each turn's return compared at the same turn, in equal parts.

Equation: A_t = (A_outcome + A_turn) / 2
    A_turn    = (D_t - mean_{g,t}(D)) / (std_{g,t}(D) + epsilon),   D_t = r_t + gamma D_{t+1}
    A_outcome = (s_i - mean_g(s)) / (std_g(s) + epsilon)
Symbols: r_t reward of turn t; s_i sum of the rewards of episode i; g its group; std with ddof 1.
Source: MatchTIR, its release (https://github.com/quchangle1/MatchTIR, Code/verl/trainer/ppo/core_algos.py).
Cost: none
Use: tool calls that are scored one by one
Evidence: code+run

In the release a turn is an uninterrupted stretch of tokens that the policy chose, with its reward on the last of
them (:func:`matchtir_tokens`); in the step table it is a step. Released code keeps the raw value where a turn
index or a group has one episode only.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Singleton, ZeroVariance, normalize_within
from credit.returns import check_discount, discounted_sum, outcomes, step_returns
from credit.scheme import Ddof, Epsilon, Factor, Share, scheme
from credit.steps import BoolArray, FloatArray, Steps
from credit.tokens import Tokens, TokenValues


@scheme(
    compares=("group", "step"),
    claims=("zero_without_reward", "zero_when_alone", "local", "scale_free"),
    compat={"released": {"singleton": "raw", "zero_variance": "epsilon"}},
)
def matchtir(
    steps: Steps,
    *,
    gamma: Share = 0.9,
    turn_weight: Factor = 0.5,
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """MatchTIR advantage of every step.

    Args:
        steps: the step table.
        gamma: discount of the turn returns, in [0, 1].
        turn_weight: share of the turn term; the rest is the outcome's.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton: a group of one gives 0, or its own value.
        zero_variance: see :mod:`credit.normalize`.
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    normal = partial(normalize_within, ddof=ddof, epsilon=epsilon, singleton=singleton, zero_variance=zero_variance)
    turn_term = normal(step_returns(steps, gamma=gamma), Groups.by(steps.group, steps.step))
    outcome_term = steps.per_step(normal(outcomes(steps), Groups.by(steps.group[steps.starts])))
    return np.asarray(turn_weight * turn_term + (1.0 - turn_weight) * outcome_term)


def matchtir_tokens(
    tokens: Tokens,
    *,
    gamma: float = 0.9,
    turn_weight: float = 0.5,
    ddof: int = 1,
    epsilon: float = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
) -> TokenValues:
    """MatchTIR per token: every chosen token gets its turn's advantage; options as in :func:`matchtir`."""
    check_discount("gamma", gamma)
    row, end = np.nonzero(tokens.mask & ~_moved(tokens.mask, -1))
    start = np.nonzero(tokens.mask & ~_moved(tokens.mask, 1))[1]
    turns = np.bincount(row, minlength=len(tokens.mask))
    index = np.arange(len(row)) - (np.cumsum(turns) - turns)[row]
    goes_on = np.append(row[1:] == row[:-1], False)[: len(row)]
    turn_return = discounted_sum(tokens.reward[row, end], np.where(goes_on, gamma, 0.0))
    normal = partial(normalize_within, ddof=ddof, epsilon=epsilon, singleton=singleton, zero_variance=zero_variance)
    turn_term = normal(turn_return, Groups.by(tokens.group[row], index))
    outcome_term = normal(tokens.reward.sum(axis=1), Groups.by(tokens.group))[row]
    advantage = np.zeros(tokens.mask.shape)
    advantage[tokens.mask] = np.repeat(turn_weight * turn_term + (1.0 - turn_weight) * outcome_term, end - start + 1)
    return advantage, advantage


def _moved(mask: BoolArray, by: int) -> BoolArray:
    """Move the columns to the right (``by=1``) or to the left (``by=-1``), with false coming in."""
    moved = np.zeros_like(mask)
    if by > 0:
        moved[:, by:] = mask[:, :-by]
    else:
        moved[:, :by] = mask[:, -by:]
    return moved
