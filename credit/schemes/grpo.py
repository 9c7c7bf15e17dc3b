"""GRPO: every step of an episode gets the episode's outcome, normalised over the rollouts of its group.

Equation: A_i = (s_i - mean_g(s)) / (std_g(s) + epsilon)
Symbols: s_i outcome of episode i (sum of its rewards); g its group; std with ddof 1.
Source: DeepSeekMath (arXiv 2402.03300), section 4.1; constants as in verl's trainer.
Cost: none
Use: the baseline that everything is compared with; short episodes
Evidence: code+run

The textbook method counts every episode once (``weighting="trajectories"``). verl-agent counts every step, so
long episodes weigh more: with one step of outcome 10 against nine steps of outcome 0, the advantages are
+2.846 and -0.316 instead of +0.707 and -0.707.
"""

from __future__ import annotations

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within, samples_of
from credit.penalty import PenaltyTiming, less, penalty_of, scores
from credit.scheme import OF_OUTCOMES, Compat, Ddof, Epsilon, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=(*OF_OUTCOMES, "scale", "scale_free", "centred"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "singleton": "raw",
            "zero_variance": "epsilon",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def grpo(
    steps: Steps,
    *,
    weighting: Weighting = "trajectories",
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """GRPO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        weighting: which rows are the group's samples (see :mod:`credit.normalize`).
        normalize: divide by the standard deviation, or only subtract the mean (Dr.GRPO).
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton: a group of one sample gives 0, or its own outcome.
        zero_variance: see :mod:`credit.normalize`.
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
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
    )
    return less(advantage, penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization"))
