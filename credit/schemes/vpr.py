"""VPR: an oracle scores several candidate actions of one situation, and each is compared with the others.

Equation: A_t = (o_t - mean_c(o)) / (std_c(o) + epsilon);   0 where the candidates of c are all scored the same
Symbols: o_t an oracle's score of the action, the column ``oracle``; c the decision: the rows with the same id in the
    column ``choice``, candidates in one situation; std with ddof 0.
Source: VPR (arXiv 2605.10325); its release (https://github.com/thu-nics/VPR, gigpo/core_gigpo.py,
    ``compute_vpr_turn_level_advantage``).
Cost: an oracle, and several candidates a situation
Use: an expert or exact values say which of several actions is best
Evidence: code

The release plays the best of four candidates and trains on all of them. A candidate that was not played is an episode
of one step here, of the same group, with the ``choice`` of the step that was. Rewards are not read, except for
``outcome_bonus``: what a won episode's last step is given beside the oracle's score (1 in the release's function).
Where nothing shares a decision, the release compares a turn with all others of the batch at the same turn
(``compare="turn"``).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, normalize_within
from credit.returns import outcomes
from credit.scheme import Ddof, Epsilon, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("oracle", "choice"), compares=("group", "choice"), claims=("local",))
def vpr(
    steps: Steps,
    *,
    compare: Literal["choice", "turn"] = "choice",
    outcome_bonus: Factor = 0.0,
    normalize: Normalize = "std",
    ddof: Ddof = 0,
    epsilon: Epsilon = 1e-8,
) -> FloatArray:
    """VPR advantage of every step.

    Args:
        steps: the step table.
        compare: candidates of one decision with each other, or all steps of the batch with the same index.
        outcome_bonus: added to the score of the last step of an episode whose outcome is above 0.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of candidates minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    score = steps.column("oracle")
    if outcome_bonus:
        score = score + outcome_bonus * (steps.is_last & steps.per_step(outcomes(steps) > 0.0))
    groups = Groups.by(steps.group, steps.column("choice")) if compare == "choice" else Groups.by(steps.step)
    return normalize_within(np.asarray(score), groups, normalize=normalize, ddof=ddof, epsilon=epsilon)
