"""MaxRL: outcomes less their group's mean, divided by that mean, so that rare successes count more.

Equation: A_i = (s_i - mean_g(s)) / mean_g(s);   0 where mean_g(s) <= 0
Symbols: s_i outcome of episode i (sum of its rewards), at least 0; g its group.
Source: Maximum likelihood RL (arXiv 2602.02710); prime-rl, src/prime_rl/orchestrator/algo/max_rl.py.
Cost: none
Use: success or failure, tasks that succeed rarely
Evidence: code

With n rollouts the expected gradient is that of the likelihood of success, cut after its n-th order. Where outcomes may
be negative the mean is no success rate, and this is not defined: a group whose mean is not above 0 gives 0.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP, normalize_within
from credit.returns import outcomes
from credit.scheme import scheme
from credit.steps import FloatArray, Steps


@scheme(claims=("zero_without_reward", "zero_when_equal", "zero_when_alone", "local", "scale_free", "centred"))
def max_rl(steps: Steps) -> FloatArray:
    """MaxRL advantage of every step.

    Args:
        steps: the step table.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    outcome, groups = outcomes(steps), Groups.by(steps.group[steps.starts])
    deviation, mean = normalize_within(outcome, groups, normalize="mean"), groups.mean(outcome)
    positive = mean > SNAP * groups.largest(outcome)
    share = np.divide(1.0, mean, out=np.zeros(groups.count), where=positive)
    return steps.per_step(deviation * share[groups.code])
