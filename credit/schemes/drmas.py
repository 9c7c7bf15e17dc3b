"""Dr.MAS: GRPO for several agents, each compared only with itself in the other rollouts of the group.

Equation: A_t = (s_t - mean_{g,m}(s)) / (std_{g,m}(s) + epsilon)
Symbols: s_t outcome of the step's episode; g its group, m the agent that acts at step t; std with ddof 1.
Source: Dr.MAS, its release (https://github.com/langfengQ/DrMAS, verl/trainer/ppo/core_algos.py).
Cost: none
Use: several agents in one episode that share an outcome
Evidence: code+run

The release has two forms: statistics by group and agent over steps, or by group over episodes, where an episode's
score is the mean of its rows' scores. The default here is the agent-wise form with one sample an episode and
agent, so that an agent that acts more often in one episode weighs no more there.
"""

from __future__ import annotations

from typing import Literal

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within
from credit.penalty import PenaltyTiming, penalty_of, scores
from credit.scheme import Compat, Ddof, Epsilon, Factor, scheme
from credit.steps import FloatArray, Steps


@scheme(
    claims=("zero_without_reward", "zero_when_equal", "zero_when_alone", "local", "shift", "scale", "scale_free"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "singleton": "raw",
            "zero_variance": "epsilon",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
    needs=("agent",),
    compares=("group", "agent"),
)
def drmas(
    steps: Steps,
    *,
    group_key: Literal["group+agent", "group"] = "group+agent",
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
    """Dr.MAS advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        group_key: whom a step is compared with: the same agent in the group, or every agent of it.
        weighting: ``"trajectories"`` takes one sample an episode (and agent), the mean of its rows' scores;
            ``"rows"`` takes every row.
        normalize: divide by the standard deviation, or only subtract the mean.
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
    agent = (steps.column("agent"),) if group_key == "group+agent" else ()
    score = scores(steps, invalid_penalty, penalty_timing)
    samples = None
    if weighting == "trajectories":
        one = Groups.by(steps.episode, *agent)
        score, samples = one.mean(score)[one.code], one.first
    advantage = normalize_within(
        score,
        Groups.by(steps.group, *agent),
        samples=samples,
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
    )
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
