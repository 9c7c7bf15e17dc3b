"""EMPG: confident steps get more of the episode's advantage, and a bonus for leading to a confident next step.

Equation: A'_t = A_t g(H_t) + zeta f(H_{t+1})   (no second term at an episode's last step);   A''_t = A'_t - mean(A')
    g(H) = exp(-k Hn) / (mean(exp(-k Hn)) + epsilon),   f(H) = exp(-k_future Hn)
    Hn = (H - min(H)) / (max(H) - min(H) + epsilon)
Symbols: A_t GRPO advantage of the step; H_t mean token entropy of its response under the policy that sampled it;
    minimum, maximum and means over all steps of the batch.
Source: EMPG, entropy-modulated policy gradients (arXiv 2509.09265); a third-party port on top of verl-agent,
    recipe/shop_agent/ppo/core_algos.py. No official code was reachable.
Cost: token entropies of the rollout
Use: confident and unsure steps differ much in entropy
Evidence: code+run
    Of the port, not of official code.

The port reads a step's number from the prompt's text and loses all steps when that text changes; here the table
has it.
"""

from __future__ import annotations

import numpy as np

from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance
from credit.penalty import PenaltyTiming
from credit.scheme import Compat, Ddof, Epsilon, Factor, scheme
from credit.schemes.grpo import grpo
from credit.steps import FloatArray, Steps


@scheme(
    needs=("entropy",),
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
def empg(
    steps: Steps,
    *,
    k: Factor = 1.0,
    k_future: Factor = 1.0,
    zeta: Factor = 0.05,
    epsilon: Epsilon = 1e-8,
    weighting: Weighting = "trajectories",
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    base_epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """EMPG advantage of every step.

    Args:
        steps: the step table.
        k: how strongly the step's own entropy scales its advantage.
        k_future: how strongly the next step's entropy lowers the bonus.
        zeta: weight of the bonus (0.05 in the port, 0.1 in another copy of it).
        epsilon: added to the denominators of EMPG.
        weighting, normalize, ddof, base_epsilon, singleton, zero_variance, invalid_penalty, penalty_timing: of
            GRPO (see :func:`credit.schemes.grpo.grpo`).
        compat: ``"verl-agent"`` for the defaults of the port.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    base = grpo(
        steps,
        weighting=weighting,
        normalize=normalize,
        ddof=ddof,
        epsilon=base_epsilon,
        singleton=singleton,
        zero_variance=zero_variance,
        invalid_penalty=invalid_penalty,
        penalty_timing=penalty_timing,
    )
    entropy = steps.column("entropy")
    lowest = entropy.min()
    scaled = (entropy - lowest) / (entropy.max() - lowest + epsilon)
    confidence = np.exp(-k * scaled)
    bonus = np.where(steps.is_last, 0.0, np.roll(np.exp(-k_future * scaled), -1))
    advantage = base * confidence / (confidence.mean() + epsilon) + zeta * bonus
    return np.asarray(advantage - advantage.mean())
