"""Fading: an episode's outcome compared with its group, fading with the distance from the end.

Equation: A_t = gamma^(T-1-t) (s_i - mean_g(s))
Symbols: s_i outcome of episode i (sum of its rewards); g its group; T its number of steps, t the step.
Source: made up, to show how a scheme is written.
Cost: none
Use: the first lines of a scheme of your own
Evidence: none
"""

from __future__ import annotations

import numpy as np

from credit import CreditError, Steps
from credit.grouping import Groups
from credit.scheme import OF_OUTCOMES, scheme
from credit.steps import FloatArray


@scheme(claims=(*OF_OUTCOMES, "scale"))  # `agentbench check scheme fading` holds it to these
def fading(steps: Steps, *, gamma: float = 0.95) -> FloatArray:
    """Advantage of every step.

    Args:
        steps: the step table, sorted by group, episode and step.
        gamma: how much is left of the advantage one step further from the end, in [0, 1].

    Returns:
        float64 of shape ``(len(steps),)``.

    Raises:
        CreditError: gamma is not in [0, 1].
    """
    if not 0.0 <= gamma <= 1.0:
        raise CreditError(f"fading: gamma is between 0 and 1, got {gamma}")
    outcome = np.add.reduceat(steps.reward, steps.starts)
    groups = Groups.by(steps.group[steps.starts])
    better = outcome - groups.mean(outcome)[groups.code]
    from_end = steps.per_step(steps.lengths) - 1 - steps.step
    advantage: FloatArray = steps.per_step(better) * gamma**from_end
    return advantage
