"""OCAR: GRPO's advantage, spread over an episode's steps by how surprising their observations were.

Equation: A_t = w_t A_i,   w_t = clip(T softmax_t(-sign(A_i) z_t / tau), weight_min, min(T, weight_max))
    z_t = (S_t - mean(S)) / max(std(S), znorm_floor)   over the T steps of the episode
Symbols: A_i GRPO advantage of episode i; S_t surprise of the observation under the policy, or that less the
    surprise under a reference policy; std with ddof 0.
Source: OCAR, observation-grounded credit advantage redistribution, a fork of verl-agent
    (https://github.com/ymguan/verl-agent, ocar/core_ocar.py). No paper was found.
Cost: log-probabilities of the observations
Use: experimental: surprise of observations as a signal
Evidence: code+run

A good episode gives more to its unsurprising steps, a bad one blames its surprising ones. The weights are 1 where
the episode has one step, where its surprises do not differ, and where its advantage is 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance
from credit.penalty import PenaltyTiming
from credit.scheme import OF_OUTCOMES, Compat, Ddof, Epsilon, Factor, Positive, scheme
from credit.schemes.grpo import grpo
from credit.steps import CreditError, FloatArray, Steps

_EQUAL = 1e-10  # surprises that vary less are all the same


@scheme(
    needs=("surprise",),
    claims=(*OF_OUTCOMES, "scale_free"),
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
def ocar(
    steps: Steps,
    *,
    tau: Positive = 1.0,
    surprise: Literal["theta", "theta_minus_ref"] = "theta",
    znorm_floor: Positive = 0.1,
    weight_min: Positive = 0.1,
    weight_max: Positive = 10.0,
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
    """OCAR advantage of every step.

    Args:
        steps: the step table; ``surprise_ref`` is needed where ``surprise`` subtracts it.
        tau: temperature of the softmax, above 0; larger is more even.
        surprise: under the policy alone, or less that under the reference policy.
        znorm_floor: least standard deviation that surprises are divided by.
        weight_min, weight_max: bounds of the weights.
        weighting, normalize, ddof, epsilon, singleton, zero_variance, invalid_penalty, penalty_timing: of
            GRPO (see :func:`credit.schemes.grpo.grpo`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if tau <= 0 or znorm_floor <= 0 or not weight_min <= weight_max:
        raise CreditError("ocar: tau and znorm_floor must be above 0, and weight_min no more than weight_max")
    base = grpo(
        steps,
        weighting=weighting,
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
        invalid_penalty=invalid_penalty,
        penalty_timing=penalty_timing,
    )
    surprises = steps.column("surprise")
    if surprise == "theta_minus_ref":
        surprises = surprises - steps.column("surprise_ref")
    # where a short episode's upper bound lies below the lower one, the upper one wins
    weight = np.maximum(_weights(steps, surprises, base, tau, znorm_floor), weight_min)
    return np.asarray(base * np.minimum(weight, np.minimum(steps.per_step(steps.lengths), weight_max)))


def _weights(steps: Steps, surprises: FloatArray, base: FloatArray, tau: float, floor: float) -> FloatArray:
    """T softmax(∓z / tau) of every step; its sign is that of the episode's first advantage."""
    starts, lengths = steps.starts, steps.lengths
    deviation = surprises - steps.per_step(np.add.reduceat(surprises, starts) / lengths)
    std = np.sqrt(np.add.reduceat(np.square(deviation), starts) / lengths)
    logit = -np.sign(steps.per_step(base[starts])) * deviation / steps.per_step(np.maximum(std, floor)) / tau
    power = np.exp(logit - steps.per_step(np.maximum.reduceat(logit, starts)))
    weight = power * steps.per_step(lengths / np.add.reduceat(power, starts))
    return np.where(steps.per_step(std) < _EQUAL, 1.0, weight)
