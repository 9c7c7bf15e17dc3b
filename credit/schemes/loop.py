"""LOOP: leave-one-out outcomes as trained on AppWorld, with weak advantages dropped.

Equation: A_i = s_i - mean_{j != i}(s_j), set to 0 where abs(A_i) < drop_below
Symbols: s_i outcome of episode i (AppWorld: the share of unit tests that pass); the mean is over the other
    rollouts of its task.
Source: Reinforcement learning for long-horizon interactive LLM agents (arXiv 2502.01600), section 4; released code.
Cost: none
Use: AppWorld's share of passed tests, PPO per token
Evidence: code

The released code offers a division by the standard deviation (ddof 0, at least 1e-7) and leaves it off. It
leaves out of the loss what ``drop_below`` (there 0.01) sets to 0 here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, normalize_within
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=(*OF_OUTCOMES, "scale", "centred"),
    compat={"released": {"drop_below": 0.01}},
)
def loop(
    steps: Steps,
    *,
    normalize: Normalize = "mean",
    drop_below: Factor = 0.0,
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """LOOP advantage of every step.

    Args:
        steps: the step table.
        normalize: ``"std"`` also divides by the standard deviation of the group's outcomes.
        drop_below: advantages of a smaller size become 0.
        compat: ``"released"`` drops below 0.01, as the released code does.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    of_episode = Groups.by(steps.group[steps.starts])
    outcome = outcomes(steps)
    size = of_episode.size
    deviation = normalize_within(outcome, of_episode, normalize="mean")
    advantage = deviation * (size / np.maximum(size - 1, 1))[of_episode.code]
    if normalize == "std":
        std = np.sqrt(of_episode.mean(np.square(deviation)))
        advantage /= np.maximum(std, 1e-7)[of_episode.code]
    advantage[np.abs(advantage) < drop_below] = 0.0
    return steps.per_step(advantage)
