"""Turn credit: GRPO on outcome and progress, moved to the turns that led to the progress.

Equation: A_t = (s_i + n_i - mean_g(s + n)) + beta (c_t - mean_i(c))
    c_t = sum_{k >= t} gamma^(k-t) D_k / (1 + gamma + … + gamma^k),   D_k = phi_k - phi_{k-1},   n_i = sum_k(D_k)
Symbols: phi_t score of the situation after turn t, the column ``score``; D_0 = 0: the first score is where an episode
    begins; s_i outcome of episode i (sum of its rewards); g its group; mean_i over the turns of the episode.
Source: prime-rl, src/prime_rl/orchestrator/algo/turn_credit.py (https://github.com/PrimeIntellect-ai/prime-rl, pull
    request 3282). No paper was found.
Cost: an environment, or a judge, that scores situations
Use: the environment says how far along a situation is
Evidence: code

The progress of a turn is shared out over it and all turns before it, each time exactly once, and an episode's turns
together keep the episode's part. A turn without a score of its own repeats the score before it: what it contributed is
then counted at the next. A group of one episode has credit between its turns alone. The release weighs turns by
their tokens in mean_i (``count_tokens``); its defaults of gamma and beta are not known.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import normalize_within
from credit.returns import discounted_sum, outcomes
from credit.scheme import Factor, Share, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("score",), claims=("local", "shift"))
def turn_credit(
    steps: Steps,
    *,
    gamma: Share = 0.9,
    beta: Factor = 1.0,
    start: Literal["first", "zero"] = "first",
    count_tokens: bool = False,
) -> FloatArray:
    """Turn-credit advantage of every step.

    Args:
        steps: the step table; the column ``tokens`` is needed with ``count_tokens``.
        gamma: weight of a turn in the progress of the next one.
        beta: weight of the credit between the turns of an episode.
        start: score before the first turn: the first one (as released, so the first turn makes no progress), or 0.
        count_tokens: turns count as often as they have tokens, in the mean of an episode.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    score, starts = steps.column("score"), steps.starts
    progress = np.diff(score, prepend=0.0)
    progress[starts] = 0.0 if start == "first" else score[starts]
    net = np.add.reduceat(progress, starts)
    level = normalize_within(outcomes(steps) + net, Groups.by(steps.group[starts]), normalize="mean")
    credit = discounted_sum(progress / _shares(steps, gamma), np.where(steps.is_last, 0.0, gamma))
    weight = np.maximum(steps.column("tokens"), 1) if count_tokens else np.ones(len(steps))
    mean = np.add.reduceat(weight * credit, starts) / np.add.reduceat(weight, starts)
    return np.asarray(steps.per_step(level) + beta * (credit - steps.per_step(mean)))


def _shares(steps: Steps, gamma: float) -> FloatArray:
    """1 + gamma + … + gamma^t of every step t, shape ``(n,)``."""
    powers = gamma ** np.arange(int(steps.step.max()) + 1, dtype=np.float64)
    return np.asarray(np.cumsum(powers)[steps.step])
