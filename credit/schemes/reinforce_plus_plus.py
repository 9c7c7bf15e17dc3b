"""REINFORCE++ with a group baseline: outcomes less their group's mean, whitened over the whole batch.

Equation: c_i = s_i - mean_g(s);  A = (c - mean(c)) / sqrt(var(c) + epsilon)
Symbols: s_i outcome of episode i (sum of its rewards); g its group; mean and var over all sampled tokens of the
    batch, every token of a step carrying the step's c.
Source: REINFORCE++ (arXiv 2501.03262), the baseline form; constants as in verl's trainer.
Cost: none
Use: small groups: the scale comes from the whole batch
Evidence: code+run

Whitening is batch-wide, so an unrelated group changes the result, and a group of equal outcomes need not get 0.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import Singleton, Weighting, normalize_within, samples_of, whiten
from credit.penalty import PenaltyTiming, penalty_of, scores
from credit.scheme import Compat, Ddof, Epsilon, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=("zero_without_reward", "shift"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "singleton": "raw",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def reinforce_plus_plus(
    steps: Steps,
    *,
    weighting: Weighting = "trajectories",
    singleton: Singleton = "zero",
    count_tokens: bool = False,
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-8,
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """REINFORCE++ (baseline form) advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        weighting: which rows are the samples of the group's mean (see :mod:`credit.normalize`).
        singleton: a group of one sample has the deviation 0, or its own outcome.
        count_tokens: a step counts in the whitening with its number of ``tokens`` (a column); otherwise once.
        ddof: the variance divides by the number of tokens minus this.
        epsilon: added to the variance, inside the root.
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    deviation = normalize_within(
        scores(steps, invalid_penalty, penalty_timing),
        Groups.by(steps.group),
        samples=samples_of(steps, weighting),
        normalize="mean",
        singleton=singleton,
    )
    tokens = steps.column("tokens") if count_tokens else np.ones(len(steps))
    advantage = whiten(deviation, tokens, ddof=ddof, epsilon=epsilon)
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
