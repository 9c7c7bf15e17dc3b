"""OPO: an episode's outcome less the group's mean outcome, in which long episodes weigh more.

Equation: A_i = s_i - sum_j(l_j s_j) / sum_j(l_j)   over the episodes j of the group
Symbols: s_i outcome of episode i (sum of its rewards); l_i its length: its steps, or its sampled tokens.
Source: On-policy RL with optimal reward baseline (arXiv 2505.23585); verl, verl/trainer/ppo/core_algos.py.
Cost: none
Use: as RLOO, where long episodes make most of the gradient's noise
Evidence: code

The weights are those of the baseline with the least variance, if the squared length of an episode's gradient grows
with its number of tokens. Where all episodes are equally long it is Dr.GRPO. The release counts tokens and keeps the
raw outcome in a group of one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Singleton, without_rounding
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, scheme
from credit.steps import FloatArray, Steps


@scheme(claims=(*OF_OUTCOMES, "scale"), compat={"released": {"length": "tokens", "singleton": "raw"}})
def opo(
    steps: Steps,
    *,
    length: Literal["steps", "tokens"] = "steps",
    singleton: Singleton = "zero",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """OPO advantage of every step.

    Args:
        steps: the step table; the column ``tokens`` is needed where ``length`` is ``"tokens"``.
        length: what an episode's length is counted in.
        singleton: a group of one episode gives 0, or its own outcome.
        compat: ``"released"`` for the defaults of verl.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    outcome, groups = outcomes(steps), Groups.by(steps.group[steps.starts])
    lengths = steps.lengths if length == "steps" else np.add.reduceat(steps.column("tokens"), steps.starts)
    weight = np.maximum(lengths, 1).astype(np.float64)
    mean = groups.mean(outcome)
    # relative to the plain mean, so that equal outcomes leave no rounding
    baseline = mean + groups.sum(weight * (outcome - mean[groups.code])) / groups.sum(weight)
    if singleton == "raw":
        baseline[groups.size == 1] = 0.0
    return steps.per_step(without_rounding(outcome - baseline[groups.code], outcome, groups))
