"""Returns: discounted sums of what comes after, for all episodes at once.

R_t = r_t + gamma * R_{t+1},   0 after the last step (also of a truncated episode)
"""

from __future__ import annotations

import numpy as np

from credit.steps import CreditError, FloatArray, Steps


def step_returns(steps: Steps, rewards: FloatArray | None = None, *, gamma: float) -> FloatArray:
    """Discounted return of every step; for rows in order.

    Args:
        steps: the table.
        rewards: what to sum, shape ``(n,)``; the table's rewards by default.
        gamma: discount in [0, 1].

    Returns:
        float64 of shape ``(n,)``.
    """
    check_discount("gamma", gamma)
    return discounted_sum(steps.reward if rewards is None else rewards, np.where(steps.is_last, 0.0, gamma))


def outcomes(steps: Steps, rewards: FloatArray | None = None) -> FloatArray:
    """Outcome of each episode, the sum of its rewards, shape ``(episodes,)``; for rows in order.

    Where every episode has one step these are the rewards themselves, not a copy to write to.
    """
    rewards = steps.reward if rewards is None else rewards
    return rewards if len(steps.starts) == len(steps) else np.add.reduceat(rewards, steps.starts)


def discounted_sum(values: FloatArray, decay: FloatArray) -> FloatArray:
    """Solve ``y[i] = values[i] + decay[i] * y[i + 1]`` for all rows; nothing follows the last row.

    A decay of 0 ends a stretch (an episode, a segment), so one call serves all stretches. The sum doubles
    its reach with every pass: log2(longest stretch) passes over the rows, no loop over rows or steps.

    Args:
        values: shape ``(n,)``.
        decay: what each row passes on from the row after it, shape ``(n,)``.

    Returns:
        float64 of shape ``(n,)``.
    """
    total, decay = values.astype(np.float64), decay.astype(np.float64)
    reach = 1
    while reach < len(total) and decay[:-reach].any():
        total[:-reach] += decay[:-reach] * total[reach:]
        decay[:-reach] *= decay[reach:]
        decay[-reach:] = 0.0
        reach *= 2
    return total


def check_discount(name: str, value: float) -> None:
    """Raise :class:`CreditError` unless ``value`` lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise CreditError(f"{name} must be in [0, 1], got {value}")
