"""Progress advantage: how much likelier the policy makes a response than its reference does.

Equation: A_t = beta log(pi(y_t | h_t) / pi_ref(y_t | h_t)) + outcome_weight A_i
Symbols: y_t response of step t, h_t what the agent had seen; the log-ratio is the column ``reference_gap``; beta the
    weight of the divergence in the policy's training; A_i GRPO advantage of episode i.
Source: Neglected free lunch from post-training: progress advantage for LLM agents (arXiv 2606.26080), by its abstract
    and reports of it.
Cost: log-probabilities under a reference policy
Use: scoring steps with a policy that was trained by RL and the one that it began as
Evidence: second-hand

The paper's claim is about a policy at the optimum of a reward with a divergence penalty: there the log-ratio is the
advantage. A policy that is its own reference has 0 everywhere, so as a signal for training it needs the outcome beside
it; that sum is this project's.
"""

from __future__ import annotations

import numpy as np

from credit.scheme import Factor, scheme
from credit.schemes.grpo import grpo
from credit.steps import FloatArray, Steps


@scheme(needs=("reference_gap",), claims=("local",))
def progress_advantage(steps: Steps, *, beta: Factor = 1.0, outcome_weight: Factor = 0.0) -> FloatArray:
    """Progress advantage of every step.

    Args:
        steps: the step table.
        beta: weight of the log-ratio.
        outcome_weight: weight of the episode's GRPO advantage.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    return np.asarray(beta * steps.column("reference_gap") + outcome_weight * grpo(steps))
