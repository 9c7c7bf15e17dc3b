"""Dr.GRPO: GRPO without the division by the standard deviation.

Equation: A_i = s_i - mean_g(s)
Symbols: s_i outcome of episode i (sum of its rewards); g its group.
Source: Understanding R1-Zero-like training (arXiv 2503.20783), section 3.
Cost: none
Use: GRPO without favouring tasks that nearly always or nearly never succeed
Evidence: code+run

Dividing by the standard deviation makes groups whose outcomes hardly differ count as much as the others. The
other half of Dr.GRPO, a loss normaliser of constant length, belongs to the loss and not to the advantage.
"""

from __future__ import annotations

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
def dr_grpo(
    steps: Steps,
    *,
    weighting: Weighting = "trajectories",
    singleton: Singleton = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """Dr.GRPO advantage of every step.

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
    advantage = normalize_within(
        scores(steps, invalid_penalty, penalty_timing),
        Groups.by(steps.group),
        samples=samples_of(steps, weighting),
        normalize="mean",
        singleton=singleton,
    )
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
