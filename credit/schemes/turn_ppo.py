"""Turn-level PPO: GAE over turns, whitened over the batch, one value for a whole response.

Equation: A_t = (a_t - mean(a)) / sqrt(var(a) + epsilon),   a_t = delta_t + gamma lam a_{t+1}
    delta_t = r_t + gamma V_{t+1} - V_t
Symbols: r_t reward of turn t; V_t critic's value at the last token before the response, the column ``value``;
    mean and variance over the batch's tokens, each with its turn's a_t (or over turns), variance with ddof 1.
Source: Turn-PPO (arXiv 2512.17008); the setting gamma = lam = 0.95 from a rerun in the VETTA paper (2026).
Cost: a critic
Use: as GAE, with PPO's whitening
Evidence: second-hand

The sources do not say whether advantages are whitened; PPO trainers do, so it is the default (``whitened``). The
ratio of the whole response, and clipping without a second bound, are the trainer's part.
"""

from __future__ import annotations

import numpy as np

from credit.normalize import whiten
from credit.scheme import Ddof, Epsilon, Share, scheme
from credit.schemes.gae import AfterTruncation, turn_gae
from credit.steps import FloatArray, Steps


@scheme(needs=("value",))
def turn_ppo(
    steps: Steps,
    *,
    gamma: Share = 0.95,
    lam: Share = 0.95,
    after_truncation: AfterTruncation = "zero",
    whitened: bool = True,
    count_tokens: bool = False,
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-8,
) -> FloatArray:
    """Turn-level PPO advantage of every step.

    Args:
        steps: the step table.
        gamma: discount, in [0, 1].
        lam: how far to look beyond the next value, in [0, 1].
        after_truncation: value of what follows an episode that was cut (see :mod:`credit.schemes.gae`).
        whitened: bring the batch to mean 0 and variance 1.
        count_tokens: a turn counts in the whitening with its number of ``tokens`` (a column); otherwise once.
        ddof: the variance divides by the number of tokens minus this.
        epsilon: added to the variance, inside the root.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    advantage = turn_gae(steps, steps.reward, gamma, lam, after_truncation)
    if not whitened:
        return advantage
    tokens = steps.column("tokens") if count_tokens else np.ones(len(steps))
    return whiten(advantage, tokens, ddof=ddof, epsilon=epsilon)
