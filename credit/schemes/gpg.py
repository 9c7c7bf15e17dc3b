"""GPG: outcomes less their group's mean, scaled up for the episodes that teach nothing.

Equation: A_i = alpha (s_i - mean_g(s)),   alpha = N / n
Symbols: s_i outcome of episode i (sum of its rewards); g its group; N number of episodes of the batch; n number of
    those that count: whose group has different outcomes, or (as released) whose outcome is not 0.
Source: GPG, group policy gradient (arXiv 2504.02546); verl, verl/trainer/ppo/core_algos.py.
Cost: none
Use: Dr.GRPO on batches with many groups of equal outcomes
Evidence: code
    Of what counts as in verl (``counted="nonzero"``); the default is what the idea asks for: groups of equal outcomes
    give no gradient, and the others make up for them.
"""

from __future__ import annotations

from typing import Literal

from credit.grouping import Groups
from credit.normalize import Singleton, normalize_within
from credit.returns import outcomes
from credit.scheme import scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=("zero_without_reward", "zero_when_equal", "zero_when_alone", "shift", "scale", "centred"),
    compat={"released": {"counted": "nonzero", "singleton": "raw"}},
)
def gpg(
    steps: Steps,
    *,
    counted: Literal["unequal", "nonzero"] = "unequal",
    singleton: Singleton = "zero",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """GPG advantage of every step.

    Args:
        steps: the step table.
        counted: the episodes that count: of groups with different outcomes, or with an outcome other than 0.
        singleton: a group of one episode gives 0, or its own outcome.
        compat: ``"released"`` for the defaults of verl.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    outcome, groups = outcomes(steps), Groups.by(steps.group[steps.starts])
    deviation = normalize_within(outcome, groups, normalize="mean", singleton=singleton)
    counts = outcome != 0.0 if counted == "nonzero" else groups.largest(deviation)[groups.code] > 0.0
    return steps.per_step(deviation * (len(outcome) / max(1, int(counts.sum()))))
