"""NGRPO: GRPO with a virtual rollout of the highest reward, so that groups in which all fail still teach.

Equation: A_i = (s_i - mean(S)) / (std(S) + epsilon),   S = the group's outcomes and max_reward
Symbols: s_i outcome of episode i (sum of its rewards); max_reward what a perfect rollout earns, in S
    ``virtual_samples`` times; std with ddof 1.
Source: NGRPO, negative-enhanced group relative policy optimization, its release
    (https://github.com/nangongrui-ngr/NGRPO, verl/trainer/ppo/core_algos.py).
Cost: none
Use: hard tasks on which whole groups fail
Evidence: code+run

A group of four that all fail gets -0.447 each, where GRPO gives 0. A group of one has no virtual rollout. The
release also clips asymmetrically (0.16 and 0.24) and drops groups in which all succeed: not part of the advantage.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within, samples_of
from credit.penalty import PenaltyTiming, penalty_of, scores
from credit.scheme import Amount, Count, Ddof, Epsilon, Factor, scheme
from credit.steps import CreditError, FloatArray, Steps


@scheme(
    claims=("zero_when_alone", "local"),
    compat={"released": {"weighting": "rows", "singleton": "raw", "zero_variance": "epsilon"}},
)
def ngrpo(
    steps: Steps,
    *,
    max_reward: Amount = 1.0,
    virtual_samples: Count = 1,
    weighting: Weighting = "trajectories",
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """NGRPO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        max_reward: outcome of the virtual rollout.
        virtual_samples: how many of them join each group of two or more.
        weighting: which rows are the group's samples (see :mod:`credit.normalize`).
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton: a group of one sample gives 0, or its own outcome.
        zero_variance: see :mod:`credit.normalize`.
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if virtual_samples < 0:
        raise CreditError(f"ngrpo: virtual_samples must be at least 0, got {virtual_samples}")
    groups = Groups.by(steps.group)
    samples = samples_of(steps, weighting)
    rows = np.arange(len(steps)) if samples is None else samples
    several = np.flatnonzero(groups.rows(rows).size > 1)
    joined = Groups(np.concatenate([groups.code, np.tile(several, virtual_samples)]), groups.count)
    score = scores(steps, invalid_penalty, penalty_timing)
    extended = np.concatenate([score, np.full(len(joined.code) - len(score), max_reward)])
    advantage = normalize_within(
        extended,
        joined,
        samples=np.concatenate([rows, np.arange(len(score), len(extended))]),
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
    )[: len(score)]
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
