"""MARS: every agent's turn rewards are centred, summed over its own later turns, and normalised for that agent.

Equation: A_t = (R_t - mean_m(unique R)) / (std_m(unique R) + epsilon)
    R_t = (r_t - mean_m(r)) + gamma R_{t'},   t' the next turn of the same agent in the episode
Symbols: r_t reward of turn t; m the agent that acts there; mean_m and std_m over the turns of agent m in the batch
    (or in the group), for R over its different values, each counted once; std with ddof 1.
Source: MARS, later MARSHAL (arXiv 2510.15414), turn-level estimator and agent-specific normalisation; its release.
Cost: none
Use: self-play, and agents with rewards of their own
Evidence: code

The release centres and sums over tokens; here a turn is one sample. That each value counts once is the release's:
with two outcomes the advantages are then the same however often each occurs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP, normalize_within, without_rounding
from credit.returns import check_discount, discounted_sum
from credit.scheme import Ddof, Epsilon, Share, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("agent",), compares=("agent",), claims=("zero_without_reward",))
def mars(
    steps: Steps,
    *,
    gamma: Share = 1.0,
    scope: Literal["batch", "group"] = "batch",
    unique_values: bool = True,
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
) -> FloatArray:
    """MARS advantage of every step.

    Args:
        steps: the step table.
        gamma: discount from turn to turn of the same agent, in [0, 1].
        scope: an agent is compared with itself over the batch, or only within the group.
        unique_values: each different return counts once, or as often as it occurs.
        ddof: the variance divides by the number of values minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    check_discount("gamma", gamma)
    agent = steps.column("agent")
    player = Groups.by(agent) if scope == "batch" else Groups.by(steps.group, agent)
    centred = without_rounding(steps.reward - player.mean(steps.reward)[player.code], steps.reward, player)
    order = np.lexsort((steps.step, agent, steps.episode))
    goes_on = (np.diff(agent[order], append=-1) == 0) & (np.diff(steps.episode[order], append=-1) == 0)
    goes_on[-1] = False
    returned = np.empty(len(steps))
    returned[order] = discounted_sum(centred[order], np.where(goes_on, gamma, 0.0))
    samples = None
    if unique_values:
        # sums of the same rewards in another order differ in their last digits
        digits = np.round(returned / (SNAP * 10.0 * max(1.0, float(np.abs(returned).max())))).astype(np.int64)
        samples = Groups.by(player.code, digits).first
    return normalize_within(returned, player, samples=samples, ddof=ddof, epsilon=epsilon)
