"""Graph value difference: the value of the next state less that of this one, both from the group's own graph.

Equation: A_t = gamma V(s_{t+1}) - V(s_t),   V(u) = mean over the group's steps that leave u of gamma V(v)
Symbols: v the state that the step enters; an episode's last step enters an end of its own, whose value is the
    episode's outcome; so V(u) = sum_a pi(a|u) sum_v P(v|u,a) gamma V(v) with pi and P from counts.
Source: GRAFT (arXiv 2609.28963), trajectory graph and value difference.
Cost: a sparse linear system
Use: many episodes through the same, fully observed situations
Evidence: paper

GRAFT then divides by the standard deviation of each node's steps (``normalize="std"``). Its further term, the mean
temporal-difference error at later hops, is 0 wherever V solves the equation above, as it does here, so it is not
offered. An episode that was cut counts as ended there with what it had earned.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import normalize_within, without_rounding
from credit.returns import check_discount, outcomes
from credit.scheme import Epsilon, Share, scheme
from credit.steps import FloatArray, IntArray, Steps


@scheme(needs=("state",), compares=("group", "state"), claims=("zero_without_reward", "local", "scale"))
def graph_value(
    steps: Steps, *, gamma: Share = 0.99, normalize: Literal["none", "mean", "std"] = "none", epsilon: Epsilon = 1e-6
) -> FloatArray:
    """Graph value difference of every step.

    Args:
        steps: the step table.
        gamma: discount, in [0, 1].
        normalize: as it is; or less the mean of the state's steps (which is 0 up to rounding), and with ``"std"``
            divided by their standard deviation (ddof 1).
        epsilon: added to that standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    check_discount("gamma", gamma)
    node = Groups.by(steps.group, steps.column("state"))
    outcome = steps.per_step(outcomes(steps))
    value = node_values(node, steps, outcome, gamma)
    after = np.where(steps.is_last, outcome, np.roll(value[node.code], -1))
    advantage = without_rounding(gamma * after - value[node.code], outcome, Groups.by(steps.group), units=100)
    if normalize == "none":
        return advantage
    return normalize_within(advantage, node, normalize=normalize, epsilon=epsilon)


def node_values(node: Groups, steps: Steps, outcome: FloatArray, gamma: float) -> FloatArray:
    """Solve the equation for V, shape ``(node.count,)``; for rows in order."""
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.linalg import splu

    share = gamma / node.size[node.code]
    goes_on: IntArray = np.flatnonzero(~steps.is_last)
    matrix = csr_array((share[goes_on], (node.code[goes_on], node.code[goes_on + 1])), shape=(node.count, node.count))
    ends = np.flatnonzero(steps.is_last)
    earned = np.bincount(node.code[ends], weights=(share * outcome)[ends], minlength=node.count)
    return np.asarray(splu((eye_array(node.count) - matrix).tocsc()).solve(earned))
