"""M-GRPO: GRPO for a main agent and the sub-agents it calls, each agent's trajectories compared among themselves.

Equation: A_t = (s_j - mean_{g,m}(s)) / (std_{g,m}(s) + epsilon)
Symbols: j the trajectory that step t belongs to: all steps of the main agent in an episode, or one call of a
    sub-agent; s_j its score; g the group, m the agent; std with ddof 1.
Source: M-GRPO (arXiv 2511.13288), multi-agent GRPO; the release of MrlX, plain GRPO in each agent's own job.
Cost: none
Use: a main agent that calls sub-agents
Evidence: code

The main agent is the one that acts first in an episode; a call of a sub-agent is an uninterrupted stretch of its
steps. The release brings the number of sub-agent trajectories to a fixed count by copying and dropping some at
random, which keeps their statistics only on average; here each counts once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, ZeroVariance, normalize_within
from credit.returns import outcomes
from credit.scheme import Ddof, Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(
    needs=("agent",),
    compares=("group", "agent"),
    claims=("zero_without_reward", "zero_when_equal", "local", "shift", "scale", "scale_free"),
    compat={"released": {"singleton": "raw", "zero_variance": "epsilon"}},
)
def mgrpo(
    steps: Steps,
    *,
    score: Literal["outcome", "own"] = "outcome",
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """M-GRPO advantage of every step.

    Args:
        steps: the step table.
        score: a trajectory's score is the outcome of its episode, or the sum of its own rewards.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of trajectories minus this.
        epsilon: added to the standard deviation.
        singleton: an agent with one trajectory in the group gets 0, or its score.
        zero_variance: see :mod:`credit.normalize`.
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    agent = steps.column("agent")
    main = agent == steps.per_step(agent[steps.starts])
    call = np.cumsum(np.diff(agent, prepend=agent[0]) != 0)
    trajectory = Groups.by(steps.episode, np.where(main, -1, call))
    value = steps.per_step(outcomes(steps)) if score == "outcome" else trajectory.sum(steps.reward)[trajectory.code]
    return normalize_within(
        value,
        Groups.by(steps.group, agent),
        samples=trajectory.first,
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
    )
