"""VinePPO: what a step changed in the value, measured by playing on from before and after it.

Equation: A_t = r_t + gamma V(s_{t+1}) - V(s_t),   V = 0 after an episode's last step
Symbols: r_t reward of step t; V(s_t) mean return of K rollouts of the policy from the situation before step t, the
    column ``value``.
Source: VinePPO (arXiv 2410.01679); by turns in VPR's release (https://github.com/thu-nics/VPR, gigpo/core_gigpo.py,
    ``compute_vineppo_advantage``).
Cost: K rollouts from every situation
Use: an environment that can be branched, and time to play on
Evidence: code

With exact values it is the true advantage; it is ``gae`` with lam = 0. ``agentbench train`` measures the values by
branching (``branch_rollouts`` is K), with the same random numbers before and after a step, so that a rollout which
takes the episode's action adds the same to both. The release whitens over the batch, each turn counting as often as it
has tokens (``whitened``, ``count_tokens``).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.normalize import whiten
from credit.scheme import Share, scheme
from credit.schemes.gae import turn_gae
from credit.steps import FloatArray, Steps


@scheme(needs=("value",), claims=("local",), compat={"released": {"whitened": True, "count_tokens": True}})
def vineppo(
    steps: Steps,
    *,
    gamma: Share = 1.0,
    whitened: bool = False,
    count_tokens: bool = False,
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """VinePPO advantage of every step.

    Args:
        steps: the step table; the column ``tokens`` is needed with ``count_tokens``.
        gamma: discount; that of the returns that the values were measured with.
        whitened: bring the advantages of the batch to mean 0 and variance 1.
        count_tokens: where they are whitened, a step counts as often as it has tokens.
        compat: ``"released"`` for the defaults of VPR's release.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    advantage = turn_gae(steps, steps.reward, gamma, 0.0, "zero")
    if not whitened:
        return advantage
    return whiten(advantage, steps.column("tokens") if count_tokens else np.ones(len(steps)), epsilon=1e-8)
