"""GAE over turns: a critic's value before each step, and the sum of what every later step turned out to change.

Equation: delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1}
Symbols: r_t reward of step t; V_t critic's value of the state before step t, the column ``value``; V and A are 0
    after the last step of an episode that terminated.
Source: generalised advantage estimation (arXiv 1506.02438), equation 16, with a turn in the place of a time step.
Cost: a critic
Use: a value head is trained anyway; one rollout a task
Evidence: code+run
    Of GAE over tokens, from which this differs only in what a step is.

What follows an episode that was cut is a decision: 0 as if it had ended, or the critic's value of the last state
that it saw, ``after_truncation="value"`` (the step table has no value of the state after that).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.returns import check_discount, discounted_sum
from credit.scheme import Share, scheme
from credit.steps import FloatArray, Steps

AfterTruncation = Literal["zero", "value"]


@scheme(needs=("value",), claims=("local",))
def gae(
    steps: Steps, *, gamma: Share = 0.95, lam: Share = 0.95, after_truncation: AfterTruncation = "zero"
) -> FloatArray:
    """GAE advantage of every step.

    Args:
        steps: the step table; ``truncated`` is needed where ``after_truncation`` is ``"value"``.
        gamma: discount, in [0, 1].
        lam: how far to look beyond the next value, in [0, 1]; 1 sums all rewards, 0 trusts the critic.
        after_truncation: value of what follows an episode that was cut.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    return turn_gae(steps, steps.reward, gamma, lam, after_truncation)


def turn_gae(
    steps: Steps, rewards: FloatArray, gamma: float, lam: float, after_truncation: AfterTruncation
) -> FloatArray:
    """GAE over the steps of each episode, shape ``(n,)``; for rows in order."""
    check_discount("gamma", gamma)
    check_discount("lam", lam)
    value = steps.column("value")
    following = np.roll(value, -1)
    following[steps.is_last] = 0.0
    if after_truncation == "value":
        following = np.where(steps.column("truncated"), value, following)
    delta = rewards + gamma * following - value
    return discounted_sum(delta, np.where(steps.is_last, 0.0, gamma * lam))
