"""Bi-level GAE (RAGEN): GAE over turns says what each turn is worth, GAE over its tokens shares that out.

Equation: turns:  delta_k = r_k + gamma_turn V(e_{k+1}) - V(e_k),  A_k = delta_k + gamma_turn lam A_{k+1},
                  R_k = A_k + V(e_k)
    tokens: delta_j = rho_j + gamma V_{j+1} - V_j,  A_j = delta_j + gamma lam A_{j+1},  begun anew in every turn,
            rho_j = R_k at the turn's last token e_k, 0 elsewhere;   then whitened over the chosen tokens
Symbols: r_k reward of turn k; V critic's value of a token; e_k last token of turn k; V and A are 0 after the last.
Source: RAGEN (arXiv 2504.20073), ragen/trainer/core_algos.py.
Cost: a critic
Use: turn rewards, and credit for single tokens inside a turn
Evidence: code+run
    Of the token form; the form for step tables is its turn level.

The step table has one value a turn, so there the token level shares nothing out: a step gets A_k, whitened. The
release takes every token with a reward that is not 0 for a turn's end, so that a turn without reward melts into
the next; the step table knows the turns, and :func:`bi_level_gae_tokens` takes them as ``turn_end``.
"""

from __future__ import annotations

import numpy as np

from credit.normalize import whiten
from credit.returns import check_discount, discounted_sum
from credit.scheme import Ddof, Epsilon, Share, scheme
from credit.schemes.gae import AfterTruncation, turn_gae
from credit.steps import BoolArray, CreditError, FloatArray, Steps
from credit.tokens import Tokens, TokenValues


@scheme(needs=("value",))
def bi_level_gae(
    steps: Steps,
    *,
    gamma_turn: Share = 0.95,
    lam: Share = 1.0,
    after_truncation: AfterTruncation = "zero",
    whitened: bool = True,
    count_tokens: bool = False,
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-8,
) -> FloatArray:
    """Turn level of the bi-level GAE of every step.

    Args:
        steps: the step table.
        gamma_turn: discount from turn to turn, in [0, 1].
        lam: how far to look beyond the next value, in [0, 1].
        after_truncation: value of what follows an episode that was cut (see :mod:`credit.schemes.gae`).
        whitened: bring the batch to mean 0 and variance 1.
        count_tokens: a turn counts in the whitening with its number of ``tokens`` (a column); otherwise once.
        ddof: the variance divides by the number of tokens minus this.
        epsilon: added to the variance, inside the root.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    advantage = turn_gae(steps, steps.reward, gamma_turn, lam, after_truncation)
    if not whitened:
        return advantage
    tokens = steps.column("tokens") if count_tokens else np.ones(len(steps))
    return whiten(advantage, tokens, ddof=ddof, epsilon=epsilon)


def bi_level_gae_tokens(
    tokens: Tokens,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    gamma_turn: float = 0.95,
    turn_end: BoolArray | None = None,
    whitened: bool = True,
    ddof: int = 1,
    epsilon: float = 1e-8,
) -> TokenValues:
    """Bi-level GAE per token; values outside the mask do not matter.

    Args:
        tokens: the batch; rewards lie on the last token of each turn.
        gamma, lam: inside a turn, in [0, 1]; lam also from turn to turn.
        gamma_turn: discount from turn to turn, in [0, 1].
        turn_end: last token of each turn, shape ``(rows, length)``; tokens with a reward by default.
        whitened, ddof, epsilon: as in :func:`bi_level_gae`.

    Raises:
        CreditError: the last chosen token of a row is no turn's end, or there is no value.
    """
    for name, number in (("gamma", gamma), ("lam", lam), ("gamma_turn", gamma_turn)):
        check_discount(name, number)
    if tokens.value is None:
        raise CreditError("bi_level_gae_tokens needs the critic's value of every token")
    chosen = np.flatnonzero(tokens.mask)
    row = chosen // tokens.mask.shape[1]
    reward, value = tokens.reward.ravel()[chosen], tokens.value.ravel()[chosen]
    is_end = reward != 0.0 if turn_end is None else turn_end.ravel()[chosen]
    is_last = np.append(row[1:] != row[:-1], True)[: len(row)]
    if (open_end := is_last & ~is_end).any():
        raise CreditError(
            f"row {row[np.argmax(open_end)]} does not end with a turn's end: its last chosen token has no reward; "
            "pass the turns' ends as turn_end"
        )
    ends = np.flatnonzero(is_end)
    worth = reward.copy()
    worth[ends] = _recursion(reward[ends], value[ends], is_last[ends], gamma_turn, lam) + value[ends]
    inside = _recursion(worth, value, is_end, gamma, lam)
    advantage, returned = np.zeros(tokens.mask.shape), np.zeros(tokens.mask.shape)
    advantage[tokens.mask], returned[tokens.mask] = inside, inside + value
    return (whiten(advantage, tokens.mask, ddof=ddof, epsilon=epsilon) if whitened else advantage), returned


def _recursion(reward: FloatArray, value: FloatArray, stops: BoolArray, gamma: float, lam: float) -> FloatArray:
    """GAE along an array that is cut after every element where ``stops``."""
    following = np.where(stops, 0.0, np.roll(value, -1))
    return discounted_sum(reward + gamma * following - value, np.where(stops, 0.0, gamma * lam))
