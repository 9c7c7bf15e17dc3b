"""HGPO: a step's return compared within nested groups that share ever more of the history of states.

Equation: A_t = sum_k w_k a_k / (sum_k w_k + epsilon),   w_k = (k + 1)^length_weight_alpha
    a_k = (R_t - mean_{C_k}(R)) / (std_{C_k}(R) + epsilon),   R_t = r_t + gamma R_{t+1}
Symbols: C_k the steps of the group whose last k anchor states (s_{t-k+1} … s_t) are the same, k = 1 … K+1 and
    k <= t+1, taken where it has at least two steps; K history_length; std with ddof 0; r_t reward;
    a_0, with weight 1, is GiGPO's episode term (only with base_group).
Source: Hierarchy-of-groups policy optimization (arXiv 2602.22817); verl-agent, recipe/hgpo/core_hgpo.py.
Cost: none
Use: as GiGPO, where the same observation means different things after different pasts
Evidence: code+run

The released code leaves out every a_k that is exactly 0, so that a step at its group's mean is not averaged in as
0: the result jumps there. The default here keeps it (``drop_exact_zero=False``). Contexts are states only, no
actions. Without ``base_group`` a step that shares its state with no other gets 0: no outcome reaches it.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups, contexts
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within, samples_of
from credit.penalty import PenaltyTiming, penalty_of, returns, scores
from credit.scheme import Compat, Count, Ddof, Epsilon, Factor, Share, scheme
from credit.steps import CreditError, FloatArray, Steps


@scheme(
    needs=("state",),
    compares=("group", "state"),
    claims=("zero_without_reward", "local", "scale", "scale_free"),
    compat={
        "verl-agent": {
            "drop_exact_zero": True,
            "base_weighting": "rows",
            "base_singleton": "raw",
            "zero_variance": "epsilon",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def hgpo(
    steps: Steps,
    *,
    gamma: Share = 0.95,
    history_length: Count = 2,
    length_weight_alpha: Factor = 1.0,
    base_group: bool = False,
    normalize: Normalize = "std",
    ddof: Ddof = 0,
    epsilon: Epsilon = 1e-6,
    drop_exact_zero: bool = False,
    base_ddof: Ddof = 1,
    base_weighting: Weighting = "trajectories",
    base_singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """HGPO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        gamma: discount of the step returns.
        history_length: K, how many earlier states the longest context has.
        length_weight_alpha: how much longer contexts weigh more; 0 for equal weights.
        base_group: average in the episode term of GiGPO.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof, base_ddof: the variance divides by the number of samples minus this; for contexts and the episode term.
        epsilon: added to the standard deviation, and to the sum of weights.
        drop_exact_zero: leave out terms that are exactly 0, as the released code does.
        base_weighting, base_singleton, zero_variance: of the episode term (see :mod:`credit.normalize`).
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if history_length < 0:
        raise CreditError(f"hgpo: history_length must be at least 0, got {history_length}")
    step_return = returns(steps, gamma, invalid_penalty, penalty_timing)
    total, weight = np.zeros(len(steps)), np.zeros(len(steps))
    if base_group:
        term = normalize_within(
            scores(steps, invalid_penalty, penalty_timing),
            Groups.by(steps.group),
            samples=samples_of(steps, base_weighting),
            normalize=normalize,
            ddof=base_ddof,
            epsilon=epsilon,
            singleton=base_singleton,
            zero_variance=zero_variance,
        )
        total += term
        weight += term != 0.0 if drop_exact_zero else 1.0
    for k, context in enumerate(contexts(steps, steps.column("state"), history_length + 1), start=1):
        rows = np.flatnonzero(steps.step >= k - 1)
        groups = context.rows(rows)
        term = normalize_within(step_return[rows], groups, normalize=normalize, ddof=ddof, epsilon=epsilon)
        counts = term != 0.0 if drop_exact_zero else groups.size[groups.code] > 1
        w = (k + 1.0) ** length_weight_alpha
        total[rows] += w * term
        weight[rows] += w * counts
    advantage = np.divide(total, weight + epsilon, out=np.zeros(len(steps)), where=weight > 0)
    return advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization")
