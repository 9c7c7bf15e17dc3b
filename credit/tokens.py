"""Advantages per token, for methods that are defined inside a response: PPO's GAE and REINFORCE++.

A batch is a matrix of rows (responses, or whole episodes) by token positions; ``mask`` is true where the policy
chose the token. Every function returns ``(advantage, return)``, both float64 of the mask's shape.

GAE: delta_j = r_j + gamma V_{j+1} - V_j, A_j = delta_j + gamma lam A_{j+1} (Schulman et al., 1506.02438, eq. 16)
REINFORCE++: G_j = r_j + gamma G_{j+1}, begun anew at tokens the policy did not choose (2501.03262)
Evidence: code+run (verl-agent's trainer)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credit.grouping import Groups
from credit.normalize import Singleton, Weighting, normalize_within, whiten
from credit.returns import discounted_sum
from credit.steps import BoolArray, FloatArray, IntArray

TokenValues = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of rows of tokens.

    Attributes:
        group, episode: of each row, shape ``(rows,)``.
        mask: tokens that the policy chose, shape ``(rows, length)``.
        reward: per token, same shape.
        value: a critic's value before each token, same shape.
        token: token ids, same shape.
    """

    group: IntArray
    episode: IntArray
    mask: BoolArray
    reward: FloatArray
    value: FloatArray | None = None
    token: IntArray | None = None


def gae_token(
    tokens: Tokens, *, gamma: float, lam: float, whitened: bool = True, ddof: int = 1, epsilon: float = 1e-8
) -> TokenValues:
    """Generalised advantage estimation inside each row; no value is carried from row to row.

    The recursion runs over all positions, so values at padding must be 0.
    """
    assert tokens.value is not None
    following = np.zeros_like(tokens.value)
    following[:, :-1] = tokens.value[:, 1:]
    advantage = reverse_sum(tokens.reward + gamma * following - tokens.value, np.full(tokens.mask.shape, gamma * lam))
    returned = advantage + tokens.value
    return (whiten(advantage, tokens.mask, ddof=ddof, epsilon=epsilon) if whitened else advantage), returned


def reinforce_plus_plus_tokens(
    tokens: Tokens, *, gamma: float, whitened: bool = True, ddof: int = 1, epsilon: float = 1e-8
) -> TokenValues:
    """REINFORCE++: discounted return of every token, whitened over the chosen tokens of the batch."""
    decay = np.zeros(tokens.mask.shape)
    decay[:, :-1] = gamma * tokens.mask[:, 1:]
    returned = reverse_sum(tokens.reward, decay)
    advantage = whiten(returned, tokens.mask, ddof=ddof, epsilon=epsilon) if whitened else returned
    return advantage * tokens.mask, returned


def reinforce_plus_plus_baseline_tokens(
    tokens: Tokens,
    *,
    weighting: Weighting,
    singleton: Singleton = "raw",
    whitened: bool = True,
    ddof: int = 1,
    epsilon: float = 1e-8,
) -> TokenValues:
    """REINFORCE++ with the group's mean as baseline: a row's score less the mean, whitened over chosen tokens."""
    first = np.unique(tokens.episode, return_index=True)[1] if weighting == "trajectories" else None
    score = normalize_within(
        tokens.reward.sum(axis=1), Groups.by(tokens.group), samples=first, normalize="mean", singleton=singleton
    )
    spread = score[:, None] * tokens.mask
    advantage = whiten(spread, tokens.mask, ddof=ddof, epsilon=epsilon) * tokens.mask if whitened else spread
    return advantage, advantage


def reverse_sum(values: FloatArray, decay: FloatArray) -> FloatArray:
    """Solve ``y[i, j] = values[i, j] + decay[i, j] * y[i, j + 1]`` in every row; nothing follows the last column."""
    decay = decay.copy()
    decay[:, -1:] = 0.0
    return discounted_sum(values.ravel(), decay.ravel()).reshape(values.shape)
