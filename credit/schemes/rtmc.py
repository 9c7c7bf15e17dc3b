"""RTMC: how much better the outcomes were after this action than after any action in the same state.

Equation: A_t = Q(s_t, a_t) - V(s_t)
Symbols: V(s) mean outcome over the group's steps in anchor state s, Q(s, a) over those of them with action a;
    an outcome is the undiscounted sum of an episode's rewards.
Source: RTMC (arXiv 2604.11037).
Cost: none
Use: the same actions are tried in the same situations again and again
Evidence: paper

Means run over steps, so an episode that comes back to a state counts there as often as it does
(``weighting="trajectories"`` counts it once). A state that one episode visits gives 0.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP, Weighting
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("state", "action"), compares=("group", "state"), claims=(*OF_OUTCOMES, "scale"))
def rtmc(steps: Steps, *, weighting: Weighting = "rows") -> FloatArray:
    """RTMC advantage of every step.

    Args:
        steps: the step table.
        weighting: what counts once in the means: every step, or every episode that contains the state (and action).

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    outcome = steps.per_step(outcomes(steps))
    state = Groups.by(steps.group, steps.column("state"))
    action = Groups.by(state.code, steps.column("action"))
    advantage = _mean(outcome, action, steps, weighting) - _mean(outcome, state, steps, weighting)
    group = Groups.by(steps.group)
    tolerance = SNAP * np.maximum(1.0, group.largest(outcome))
    advantage[np.abs(advantage) <= tolerance[group.code]] = 0.0
    return advantage


def _mean(outcome: FloatArray, groups: Groups, steps: Steps, weighting: Weighting) -> FloatArray:
    if weighting == "rows":
        return groups.mean(outcome)[groups.code]
    once = Groups.by(groups.code, steps.episode).first
    return groups.rows(once).mean(outcome[once])[groups.code]
