"""Single-stream PO: an episode's outcome less what its task was worth so far, whitened over the batch.

Equation: A_i = (d_i - mean(d)) / sqrt(var(d) + epsilon),   d_i = s_i - v
    afterwards v <- (rho n v + s_i) / (rho n + 1),   n <- rho n + 1
Symbols: s_i outcome of episode i (sum of its rewards); v the value of its task, kept from batch to batch, the column
    ``baseline``; n how many outcomes that value stands for; rho how much of them is kept; mean and var over the
    episodes of the batch, var with ddof 1.
Source: Single-stream policy optimization (arXiv 2509.13232); verl, recipe/spo/spo_ray_trainer.py.
Cost: a value for each task, kept from batch to batch
Use: one rollout a task
Evidence: code
    Of the advantage and the counts. The release keeps the counts of a Beta distribution (v = alpha / (alpha + beta)),
    which for outcomes in [0, 1] is the same, and lets rho, in [0.875, 0.96], follow the divergence of the policy
    since the task was last seen; that part is second-hand, and ``agentbench train`` keeps rho constant (0.9).
"""

from __future__ import annotations

import numpy as np

from credit.normalize import whiten
from credit.returns import outcomes
from credit.scheme import Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("baseline",))
def single_stream(steps: Steps, *, whitened: bool = True, epsilon: Epsilon = 1e-8) -> FloatArray:
    """Single-stream advantage of every step.

    Args:
        steps: the step table; ``baseline`` is read on an episode's first step.
        whitened: bring the advantages of the batch's episodes to mean 0 and variance 1.
        epsilon: added to that variance.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    deviation = outcomes(steps) - steps.column("baseline")[steps.starts]
    if whitened:
        deviation = whiten(deviation, np.ones(len(deviation)), epsilon=epsilon)
    return steps.per_step(deviation)
