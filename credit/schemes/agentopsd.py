"""AgentOPSD: an episode's advantage, moved to the turns at which a teacher's belief in it rises or falls.

Equation: A_t = A_i ((1 - lam) + lam w_t),   w_t = clip(1 + band z_t, 1 - band, 1 + band)
    z_t = (q_t - mean(q)) / (std(q) + z_epsilon) over the turns of the episode,   q_t = sign(A_i) (B_t - B_{t-1})
    logit(B_t) = logit(B_{-1}) + c_t,   c_t = gamma c_{t-1} + d_t
Symbols: A_i GRPO advantage of episode i; d_t log-probability of the response under the teacher less that under the
    policy, summed over its tokens, the column ``teacher_gap``; B belief that the episode succeeds; std with ddof 1.
Source: AgentOPSD (arXiv 2608.05987); its release (https://github.com/ZethWang/AgentOPSD,
    verl/trainer/ppo/opsd_utils.py).
Cost: a forward pass of the teacher: the policy with a hint in its prompt
Use: skills, or other hints that training may see and the agent may not
Evidence: code
    The belief begins at 1/2 and nothing fades (``prior="half"``, ``gamma=1``), as in the release. A third-party port
    after the paper begins at the group's share of successes, and fades with gamma = 0.95. Whether the release divides
    by n or n - 1 in std is not known.

Weights average to about 1, so an episode keeps about what it had; one turn keeps it exactly.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from credit.grouping import Groups
from credit.normalize import Normalize, normalize_within
from credit.returns import discounted_sum, outcomes
from credit.scheme import OF_OUTCOMES, Amount, Ddof, Epsilon, Share, scheme
from credit.schemes.grpo import grpo
from credit.steps import FloatArray, Steps

_LEAST = 1e-3  # a belief from the group's successes stays so far from 0 and 1


@scheme(needs=("teacher_gap",), claims=(*OF_OUTCOMES, "scale_free"))
def agentopsd(
    steps: Steps,
    *,
    lam: Share = 0.5,
    band: Share = 0.2,
    gamma: Share = 1.0,
    prior: Literal["half", "group"] = "half",
    success_above: Amount = 0.5,
    z_epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-6,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
) -> FloatArray:
    """AgentOPSD advantage of every step.

    Args:
        steps: the step table.
        lam: share of the advantage that is moved; 0 is GRPO.
        band: how far a weight may be from 1.
        gamma: how much of the evidence so far a turn keeps.
        prior: belief before the first turn: 1/2, or the share of the group's episodes that succeeded.
        success_above: an outcome above this is a success, for that share.
        z_epsilon: added to the standard deviation of an episode's q.
        normalize, ddof, epsilon: of GRPO (see :func:`credit.schemes.grpo.grpo`).

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    base = grpo(steps, normalize=normalize, ddof=ddof, epsilon=epsilon)
    rise = np.sign(base) * _rises(steps, gamma, _prior(steps, prior, success_above))
    z = normalize_within(rise, Groups.by(steps.episode), ddof=1, epsilon=z_epsilon)
    weight = np.clip(1.0 + band * z, 1.0 - band, 1.0 + band)
    return np.asarray(base * ((1.0 - lam) + lam * weight))


def _prior(steps: Steps, prior: str, success_above: float) -> FloatArray:
    """Log-odds of the belief before an episode's first turn, a row each."""
    if prior == "half":
        return np.zeros(len(steps))
    groups = Groups.by(steps.group[steps.starts])
    share = np.clip(groups.mean((outcomes(steps) > success_above).astype(np.float64)), _LEAST, 1.0 - _LEAST)
    return steps.per_step((np.log(share) - np.log1p(-share))[groups.code])


def _rises(steps: Steps, gamma: float, prior: FloatArray) -> FloatArray:
    """B_t - B_{t-1} of every turn."""
    first = np.zeros(len(steps), dtype=np.bool_)
    first[steps.starts] = True
    # the recursion runs forward in time: backwards over the rows from the end
    evidence = discounted_sum(steps.column("teacher_gap")[::-1], np.where(first, 0.0, gamma)[::-1])[::-1]
    belief = _sigmoid(prior + evidence)
    return np.asarray(belief - np.where(first, _sigmoid(prior), np.roll(belief, 1)))


def _sigmoid(logit: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))
