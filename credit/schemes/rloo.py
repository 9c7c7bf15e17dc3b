"""RLOO: an episode's outcome less the mean outcome of the other rollouts of its group.

Equation: A_i = s_i - mean_{j != i}(s_j) = n / (n - 1) (s_i - mean_g(s))
Symbols: s_i outcome of episode i (sum of its rewards); g its group, n its number of samples.
Source: Back to basics (arXiv 2402.14740), section 3; constants as in verl's trainer.
Cost: none
Use: an unbiased baseline; outcomes of a known scale
Evidence: code+run

With ``weighting="rows"`` (verl-agent) n counts steps, so the other steps of the same episode are part of its
baseline: it is then no longer a leave-one-out estimate.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups
from credit.normalize import Singleton, Weighting, normalize_within, samples_of
from credit.penalty import PenaltyTiming, penalty_of, scores
from credit.scheme import OF_OUTCOMES, Compat, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=(*OF_OUTCOMES, "scale", "centred"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "singleton": "raw",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def rloo(
    steps: Steps,
    *,
    weighting: Weighting = "trajectories",
    singleton: Singleton = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """RLOO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        weighting: which rows are the group's samples (see :mod:`credit.normalize`).
        singleton: a group of one sample gives 0, or its own outcome.
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    groups, samples = Groups.by(steps.group), samples_of(steps, weighting)
    deviation = normalize_within(
        scores(steps, invalid_penalty, penalty_timing), groups, samples=samples, normalize="mean", singleton=singleton
    )
    size = groups.size if samples is None else groups.rows(samples).size
    others = np.maximum(size - 1, 1)
    advantage = deviation * np.where(size > 1, size / others, 1.0)[groups.code]
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
