"""The penalty for actions that the environment did not understand, and when it is taken off.

``after_normalization``  the advantage of the row, and nothing else (statistically clean; the default)
``after_discounting``    the row's score and return, but no earlier return; then it is part of its groups'
                         statistics, and rows of one episode differ in score (released verl-agent)
``before_discounting``   the row's reward, and so the returns of earlier steps and the episode's outcome
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from credit.returns import outcomes, step_returns
from credit.steps import CreditError, FloatArray, Steps

PenaltyTiming = Literal["after_normalization", "after_discounting", "before_discounting"]


def penalty_of(steps: Steps, penalty: float, timing: PenaltyTiming, at: PenaltyTiming) -> FloatArray | float:
    """What to take off each row at the point ``at``: 0 unless that is when the penalty is due.

    Args:
        steps: needs the column ``is_valid`` if the penalty is not 0.
        penalty: taken off every row whose action was invalid.
        timing: when it is due.
        at: the point that the computation has reached.
    """
    if timing not in get_args(PenaltyTiming):
        raise CreditError(f"penalty_timing is one of {', '.join(get_args(PenaltyTiming))}, got {timing!r}")
    if penalty == 0.0 or timing != at:
        return 0.0
    return np.where(steps.column("is_valid"), 0.0, penalty)


def less(values: FloatArray, penalty: FloatArray | float) -> FloatArray:
    """Return the values less what :func:`penalty_of` says; themselves where that is nothing."""
    return values - penalty if isinstance(penalty, np.ndarray) else values


def scores(steps: Steps, penalty: float = 0.0, timing: PenaltyTiming = "after_normalization") -> FloatArray:
    """Outcome of each row's episode, less the penalty that is due by then, shape ``(n,)``; for rows in order."""
    rewards = less(steps.reward, penalty_of(steps, penalty, timing, "before_discounting"))
    outcome = steps.per_step(outcomes(steps, rewards))
    return less(outcome, penalty_of(steps, penalty, timing, "after_discounting"))


def returns(
    steps: Steps, gamma: float, penalty: float = 0.0, timing: PenaltyTiming = "after_normalization"
) -> FloatArray:
    """Discounted return of each step, less the penalty that is due by then, shape ``(n,)``; for rows in order."""
    rewards = steps.reward - penalty_of(steps, penalty, timing, "before_discounting")
    return step_returns(steps, rewards, gamma=gamma) - penalty_of(steps, penalty, timing, "after_discounting")
