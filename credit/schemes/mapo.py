"""MAPO: Monte Carlo returns compared at the same turn, mixed with immediate rewards compared over all turns.

Equation: A_t = alpha A_turn + (1 - alpha) A_batch
    A_turn  = (G_t - mean_{g,t}(G)) / (std_{g,t}(G) + epsilon)   over the episodes of group g at the same turn t
    A_batch = (r_t - mean(r)) / (std(r) + epsilon)               over all turns of the group, or of the batch
    G_t = sum_{k >= t} gamma^(k-t) r_k
Symbols: r_t reward of turn t; in the paper the decrease of a judge's distance to a satisfied user; std with ddof 0.
Source: MAPO, called MICA from version 3 (arXiv 2603.06194), by its abstract and one third-party implementation.
    No official code is public; another method of the same name is arXiv 2509.18849.
Cost: a judge, where the environment does not score turns
Use: every turn has a score of its own
Evidence: second-hand

What the sources leave open is an option here: the discount, and whether immediate rewards are compared within the
group (``immediate_scope="group"``, as the third-party implementation does) or the whole batch (as the name says).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import normalize_within
from credit.returns import step_returns
from credit.scheme import Ddof, Epsilon, Share, scheme
from credit.steps import CreditError, FloatArray, Steps


@scheme(compares=("group", "step"), claims=("zero_without_reward", "local", "scale_free"))
def mapo(
    steps: Steps,
    *,
    alpha: Share = 0.5,
    gamma: Share = 1.0,
    turn_reward: Literal["reward", "score", "progress"] = "reward",
    immediate_scope: Literal["group", "batch"] = "group",
    ddof: Ddof = 0,
    epsilon: Epsilon = 1e-8,
) -> FloatArray:
    """MAPO advantage of every step.

    Args:
        steps: the step table; the column ``score`` is needed where ``turn_reward`` is not ``"reward"``.
        alpha: weight of the turn term, in [0, 1]; 0.5 to 0.7 are reported best.
        gamma: discount of the returns.
        turn_reward: r_t is the environment's reward; or the column ``score`` (a judge's mark of the turn); or the
            rise of ``score`` since the turn before (``"progress"``, from 0: the paper's decrease of a distance).
        immediate_scope: rows that an immediate reward is compared with.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if not 0.0 <= alpha <= 1.0:
        raise CreditError(f"mapo: alpha must be in [0, 1], got {alpha}")
    reward = steps.reward if turn_reward == "reward" else steps.column("score")
    if turn_reward == "progress":
        before = np.roll(reward, 1)
        before[steps.starts] = 0.0
        reward = reward - before
    turn_term = normalize_within(
        step_returns(steps, reward, gamma=gamma), Groups.by(steps.group, steps.step), ddof=ddof, epsilon=epsilon
    )
    scope = Groups.by(steps.group) if immediate_scope == "group" else Groups.all(len(steps))
    immediate_term = normalize_within(reward, scope, ddof=ddof, epsilon=epsilon)
    return alpha * turn_term + (1.0 - alpha) * immediate_term
