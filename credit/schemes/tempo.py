"""TEMPO: an episode's outcome, corrected at each step by what the step changed in the mean outcome of its prefix.

Equation: A_t = (s_i - mean_g(s) + V(p_{t+1}) - V(p_t)) / (std_g(s) + epsilon),   V(p_0) = mean_g(s)
Symbols: s_i outcome of episode i; g its group; p_t its first t steps, each one (state, action); V(p) mean outcome
    of the group's episodes that begin with p, the prefix tree's node; std over episodes with ddof 1.
Source: TEMPO, tree-estimated mean prefix value for policy optimization (arXiv 2509.18314); its release,
    verl/trainer/ppo/core_algos.py.
Cost: none
Use: episodes that begin alike and part later
Evidence: code+run

The paper's tree is over the tokens of single-turn answers (:func:`tempo_tokens`); for agents a step plays the part
of a token, as the recorded vectors do. An episode that is alone on its branch has V constant from there, so the
correction vanishes. Released code gives NaN for a group of one and divides by epsilon where outcomes are all equal.
"""

from __future__ import annotations

import numpy as np

from credit.grouping import Groups, combine
from credit.normalize import SNAP, Normalize
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Ddof, Epsilon, scheme
from credit.steps import CreditError, FloatArray, IntArray, Steps
from credit.tokens import Tokens, TokenValues

STEP = ("state", "action")


@scheme(needs=STEP, claims=(*OF_OUTCOMES, "scale", "scale_free"))
def tempo(
    steps: Steps,
    *,
    prefix_token: tuple[str, ...] = STEP,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
) -> FloatArray:
    """TEMPO advantage of every step.

    Args:
        steps: the step table.
        prefix_token: columns that make two steps the same for the prefix tree; some of state, action.
        normalize: divide by the standard deviation of the group's outcomes, or not.
        ddof: the variance divides by the number of episodes minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if not prefix_token or not set(prefix_token) <= set(STEP):
        raise CreditError(f"tempo: prefix_token names some of {', '.join(STEP)}, got {prefix_token!r}")
    token = combine(*(steps.column(name) for name in prefix_token))
    return _advantage(
        prefixes(steps.group, steps.step, token),
        steps.per_step(outcomes(steps)),
        Groups.by(steps.group),
        steps.starts,
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
    )


def tempo_tokens(tokens: Tokens, *, normalize: Normalize = "std", ddof: int = 1, epsilon: float = 1e-6) -> TokenValues:
    """TEMPO per token: each row is one response; tokens are compared by column, also those outside the mask."""
    assert tokens.token is not None
    rows, length = tokens.mask.shape
    group, column = np.repeat(tokens.group, length), np.tile(np.arange(length), rows)
    flat = _advantage(
        prefixes(group, column, tokens.token.ravel()),
        np.repeat(tokens.reward.sum(axis=1), length),
        Groups.by(group),
        np.arange(rows) * length,
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
    )
    advantage = flat.reshape(rows, length) * tokens.mask + 0.0
    return advantage, advantage


def prefixes(group: IntArray, step: IntArray, token: IntArray) -> Groups:
    """Group steps by the whole of their episode up to and with them; rows of an episode are in order.

    The window that is compared doubles with every pass: log2(longest episode) passes, no loop over steps. What
    lies before an episode's start is marked, so that windows are the same only if they are equally long.

    Args:
        group: task group of each row, shape ``(n,)``.
        step: 0, 1, 2, … within the episode.
        token: what is compared.
    """
    current, reach = Groups.by(group, token), 1
    while reach <= step.max(initial=0):
        earlier = np.roll(current.code, reach)
        earlier[step < reach] = -1
        current = Groups.by(current.code, earlier)
        reach *= 2
    return current


def _advantage(
    prefix: Groups,
    outcome: FloatArray,
    groups: Groups,
    starts: IntArray,
    *,
    normalize: Normalize,
    ddof: int,
    epsilon: float,
) -> FloatArray:
    """Combine the outcome's deviation with the change of the prefix value, for rows in order."""
    of_episodes = groups.rows(starts)
    mean = of_episodes.mean(outcome[starts])
    deviation = outcome - mean[groups.code]
    value = prefix.mean(outcome) - mean[groups.code[prefix.first]]
    after = value[prefix.code]
    before = np.roll(after, 1)
    before[starts] = 0.0
    advantage = deviation + after - before
    tolerance = SNAP * np.maximum(1.0, groups.largest(outcome))
    advantage[np.abs(advantage) <= tolerance[groups.code]] = 0.0
    if normalize == "std":
        spread = deviation[starts]
        spread[np.abs(spread) <= tolerance[of_episodes.code]] = 0.0
        size = of_episodes.size
        std = np.sqrt(of_episodes.sum(np.square(spread)) / np.maximum(size - ddof, 1))
        spread_out = (std > 0) & (size > ddof)
        advantage *= np.divide(1.0, std + epsilon, out=np.zeros_like(std), where=spread_out)[groups.code]
    return advantage
