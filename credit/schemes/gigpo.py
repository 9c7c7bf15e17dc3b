"""GiGPO: the episode's outcome, plus each step's return compared with other steps in the same situation.

Equation: A_t = A_E + step_weight * A_S
    A_E = (s_i - mean_g(s)) / (std_g(s) + epsilon)             over the episodes of group g
    A_S = (R_t - mean_{g,s_t}(R)) / (std_{g,s_t}(R) + epsilon)   over the steps of group g in anchor state s_t
    R_t = r_t + gamma R_{t+1}
Symbols: s_i outcome of episode i; s_t anchor state (the observation without history); r_t reward; std with ddof 1.
Source: Group-in-group policy optimization (arXiv 2505.10978), section 4; verl-agent, gigpo/core_gigpo.py.
Cost: none
Use: long episodes that come back to the same observations; the usual first choice
Evidence: code+run

The paper writes a normaliser F that is the standard deviation, or 1 (``normalize="mean"``, unbiased up to a
factor). A state visited twice by an episode counts twice. With outcomes 0 and 1 a failed episode's return is the
least of each of its groups, so its steps never get positive credit (see :mod:`credit.tools.health`).
"""

from __future__ import annotations

from typing import Literal

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within, samples_of
from credit.penalty import PenaltyTiming, penalty_of, returns, scores
from credit.scheme import Compat, Ddof, Epsilon, Factor, Share, scheme
from credit.similarity import merge_similar
from credit.steps import FloatArray, Steps


@scheme(
    needs=("state",),
    compares=("group", "state"),
    claims=("zero_without_reward", "local", "scale", "scale_free"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "episode_singleton": "raw",
            "zero_variance": "epsilon",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def gigpo(
    steps: Steps,
    *,
    gamma: Share = 0.95,
    step_weight: Factor = 1.0,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    weighting: Weighting = "trajectories",
    episode_singleton: Singleton = "zero",
    step_singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    grouping: Literal["exact", "similarity"] = "exact",
    similarity_threshold: Share = 0.95,
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """GiGPO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        gamma: discount of the step returns.
        step_weight: weight of the step term (omega in the paper).
        normalize: divide both terms by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        weighting: samples of the episode term (see :mod:`credit.normalize`); the step term counts every visit.
        episode_singleton, step_singleton: a group of one sample gives 0, or its own value.
        zero_variance: of the episode term, see :mod:`credit.normalize`.
        grouping: same anchor state, or anchor states with similar text (see :mod:`credit.similarity`).
        similarity_threshold: least similarity of two texts.
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    state = steps.column("state")
    if grouping == "similarity":
        state = merge_similar(steps, state, steps.group, similarity_threshold)
    episode_term = normalize_within(
        scores(steps, invalid_penalty, penalty_timing),
        Groups.by(steps.group),
        samples=samples_of(steps, weighting),
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=episode_singleton,
        zero_variance=zero_variance,
    )
    step_term = normalize_within(
        returns(steps, gamma, invalid_penalty, penalty_timing),
        Groups.by(steps.group, state),
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=step_singleton,
    )
    late_penalty = penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
    return episode_term + step_weight * step_term - late_penalty
