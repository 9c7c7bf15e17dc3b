"""Pass@k: only the best rollout of a group gets credit, for what it has before the second best.

Equation: A_i = (s_i - max_{j != i}(s_j)) / (std_g(s) + epsilon) for the best rollout i of group g, 0 for all others
Symbols: s_i outcome of episode i (sum of its rewards); g its group; std with ddof 1.
Source: Optimising pass@k (arXiv 2503.19595); verl, verl/trainer/ppo/core_algos.py (``grpo_passk``).
Cost: none
Use: what counts is that one of k rollouts succeeds
Evidence: code

Two rollouts that are equally good get 0, so a task that is solved twice teaches nothing any more. verl refuses a group
of one; here it gives 0.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, normalize_within
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Ddof, Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(claims=(*OF_OUTCOMES, "scale_free"))
def grpo_passk(steps: Steps, *, normalize: Normalize = "std", ddof: Ddof = 1, epsilon: Epsilon = 1e-6) -> FloatArray:
    """Pass@k advantage of every step.

    Args:
        steps: the step table.
        normalize: divide by the standard deviation of the group's outcomes, or not.
        ddof: the variance divides by the number of episodes minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    groups = Groups.by(steps.group[steps.starts])
    # differences of deviations are those of outcomes, and equal outcomes have exactly equal ones
    deviation = normalize_within(outcomes(steps), groups, normalize=normalize, ddof=ddof, epsilon=epsilon)
    order = np.lexsort((deviation, groups.code))
    last = np.append(groups.code[order][1:] != groups.code[order][:-1], True)
    best, second = order[last], np.roll(order, 1)[last]
    lead = deviation[best] - np.where(groups.size[groups.code[best]] > 1, deviation[second], deviation[best])
    advantage = np.zeros(len(deviation))
    advantage[best] = lead
    return steps.per_step(advantage)
