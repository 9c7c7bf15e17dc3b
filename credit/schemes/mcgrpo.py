"""MC-GRPO: outcomes compared with the group's median, which a single lucky rollout does not move.

Equation: A_i = (s_i - median_g(s)) / (MAD_g(s) + epsilon) * n / n_used
Symbols: s_i outcome of episode i; MAD median of abs(s - median_g(s)); n episodes of the group, n_used those whose
    advantage is not 0.
Source: MC-GRPO, median-centred GRPO for small rollout budgets (arXiv 2601.22582); its release.
Cost: one rollout more a group
Use: few rollouts a task, graded outcomes (not binary ones: see its notes)
Evidence: code

The method samples one rollout more, so that the number is odd and the median is one of them: that one gets 0 and is
left out. Where more than half of the outcomes are equal, as binary ones always are, MAD is 0 and the release divides
by epsilon alone: values near 1,000. The default here then leaves the deviation undivided (``zero_spread``). That
the factor n / n_used is taken group by group is an assumption.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(claims=(*OF_OUTCOMES, "scale"), compat={"released": {"zero_spread": "epsilon"}})
def mcgrpo(
    steps: Steps,
    *,
    normalize: Literal["mad", "mean"] = "mad",
    epsilon: Epsilon = 1e-3,
    rescale: bool = True,
    zero_spread: Literal["undivided", "epsilon"] = "undivided",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """MC-GRPO advantage of every step.

    Args:
        steps: the step table.
        normalize: divide by the median absolute deviation, or (``"mean"``) only subtract the median.
        epsilon: added to the median absolute deviation.
        rescale: multiply by n / n_used.
        zero_spread: what a deviation becomes where the median absolute deviation is 0.
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    of_episode = Groups.by(steps.group[steps.starts])
    outcome = outcomes(steps)
    deviation = outcome - _median(outcome, of_episode)[of_episode.code]
    tolerance = SNAP * np.maximum(1.0, of_episode.largest(outcome))
    deviation[np.abs(deviation) <= tolerance[of_episode.code]] = 0.0
    advantage = deviation
    if normalize == "mad":
        mad = _median(np.abs(deviation), of_episode)
        divisor = np.where((mad == 0) & (zero_spread == "undivided"), 1.0, mad + epsilon)
        advantage = deviation / divisor[of_episode.code]
    if rescale:
        used = of_episode.sum(advantage != 0)
        advantage = advantage * (of_episode.size / np.maximum(used, 1))[of_episode.code]
    return steps.per_step(advantage)


def _median(values: FloatArray, groups: Groups) -> FloatArray:
    """Median of each group, shape ``(count,)``; the mean of the two middle values where their number is even."""
    ranked = values[np.lexsort((values, groups.code))]
    first = np.cumsum(groups.size) - groups.size
    return np.asarray((ranked[first + (groups.size - 1) // 2] + ranked[first + groups.size // 2]) / 2)
