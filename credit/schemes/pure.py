"""PURE: the worst step of an episode says what the episode is worth, and gets the credit for it.

Equation: A_t = sum_{k >= t} gamma^(k-t) (p_k - b_i) + outcome_weight gamma^(T-t) (s_i - mean_{j != i}(s_j))
    p_t = r_t exp(-r_t / temperature) / sum_k exp(-r_k / temperature)   over the turns k of the episode
    b_i = mean over the other episodes j of the group of sum_k(p_k) / (number of their turns)
Symbols: r_t score of turn t, in [-1, 1], the column ``score``; so sum_t(p_t) is near min_t(r_t) at low temperature;
    s_i outcome of episode i (sum of its rewards); T the index of its last turn.
Source: Stop summation: min-form credit assignment (PURE, arXiv 2504.15275); its release (https://github.com/CJReinforce/PURE,
    openrlhf/utils/utils.py and openrlhf/trainer/ppo_utils/experience_maker.py).
Cost: a judge, or an environment that scores turns
Use: every turn has a score, and one bad turn spoils an episode
Evidence: code

The baseline is taken off every turn to come, so a long episode has more of it taken off than a short one
(``baseline="token"``: in proportion to the turn's tokens, the release's other form). The release divides by zero in a
group of one; here it gives 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.returns import outcomes, step_returns
from credit.scheme import Factor, Positive, Share, scheme
from credit.steps import FloatArray, IntArray, Steps


@scheme(needs=("score",), claims=("zero_when_alone", "local", "shift"))
def pure(
    steps: Steps,
    *,
    temperature: Positive = 0.1,
    gamma: Share = 1.0,
    outcome_weight: Factor = 1.0,
    baseline: Literal["step", "token"] = "step",
) -> FloatArray:
    """PURE advantage of every step.

    Args:
        steps: the step table; the column ``tokens`` is needed where ``baseline`` is ``"token"``.
        temperature: of the softmax, above 0; the lower, the nearer to the minimum.
        gamma: discount.
        outcome_weight: weight of the outcome less that of the other episodes, which the last turn gets.
        baseline: taken off every turn: the others' mean score a turn, or their score a token times the turn's tokens.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    groups = Groups.by(steps.group[steps.starts])
    weighted = _min_form(steps, temperature)
    total, others = np.add.reduceat(weighted, steps.starts), np.maximum(groups.size - 1, 1)[groups.code]
    if baseline == "step":
        off = steps.per_step(_of_others(groups, total / steps.lengths) / others)
    else:
        tokens = steps.column("tokens")
        length = _of_others(groups, np.add.reduceat(tokens, steps.starts).astype(np.float64))
        share = np.divide(_of_others(groups, total), length, out=np.zeros(len(total)), where=length > 0)
        off = steps.per_step(share) * tokens
    outcome = outcomes(steps)
    outcome = outcome - _of_others(groups, outcome) / others
    reward = weighted - off
    reward[steps.is_last] += outcome_weight * outcome
    alone = steps.per_step(groups.size[groups.code] == 1)
    return np.where(alone, 0.0, step_returns(steps, reward, gamma=gamma))


def _min_form(steps: Steps, temperature: float) -> FloatArray:
    """p_t of every turn: its score times its share of the softmax of the negative scores."""
    score, starts = steps.column("score"), steps.starts
    power = np.exp((steps.per_step(np.minimum.reduceat(score, starts)) - score) / temperature)
    return np.asarray(score * power / steps.per_step(np.add.reduceat(power, starts)))


def _of_others(groups: Groups, values: FloatArray | IntArray) -> FloatArray:
    """Sum of the values of the other members of a group, for each member."""
    return np.asarray(groups.sum(values)[groups.code] - values)
