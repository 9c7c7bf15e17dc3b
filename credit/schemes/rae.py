"""RAE: what an agent earned, less the moving average of what it earned so far.

Equation: A_t = s - b,   afterwards b <- decay b + (1 - decay) s
Symbols: s outcome of the step's episode, or the sum of the acting agent's own rewards in it; b the agent's moving
    average before that episode, the column ``baseline``, 0 at the start.
Source: SPIRAL, role-conditioned advantage estimation (arXiv 2506.24119); prime-rl,
    src/prime_rl/orchestrator/algo/rae.py (decay 0.95).
Cost: a moving average for each agent, kept from batch to batch
Use: self-play, where a group's mean says nothing
Evidence: code

The average is kept between batches, so it is a column and not computed here; ``agentbench train`` keeps it, for its one
agent.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.returns import outcomes
from credit.scheme import scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("baseline",), claims=("local",))
def rae(steps: Steps, *, score: Literal["outcome", "own"] = "outcome") -> FloatArray:
    """RAE advantage of every step.

    Args:
        steps: the step table; the column ``agent`` is needed where ``score`` is ``"own"``.
        score: the outcome of the whole episode, or the sum of the rewards on the acting agent's own steps.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if score == "outcome":
        earned = steps.per_step(outcomes(steps))
    else:
        own = Groups.by(steps.episode, steps.column("agent"))
        earned = own.sum(steps.reward)[own.code]
    return np.asarray(earned - steps.column("baseline"))
