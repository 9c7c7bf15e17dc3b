"""HiPER: hierarchical advantages of an agent that names a sub-goal, keeps it for a while, then switches.

Equation: low   delta_t = r_t + gamma W_t - L_t,   A_t = delta_t + gamma lambda_turn A_{t+1} within the segment
          high  A_k = G_k - H_k + gamma^d lambda_segment A_{k+1},   G_k the return G_t at the segment's first turn
          term  A_t = G_t - T_t,   G_t = r_t + gamma G_{t+1} within the segment, G after its last turn = E
    W_t = L_{t+1} within the segment, E after its last turn
    E = H of the next segment's first turn; 0 after an episode that terminated, or that was cut (see below)
Symbols: a segment begins at turn 0 and at every switch, d is its length; L, H, T values of the three heads (columns
    ``value_low``, ``value_high``, ``value_term``); r_t reward after shaping.
Source: HiPER (arXiv 2602.16165), hierarchical advantage estimation; its release, hiper_hae/core_hae.py.
Cost: a critic with three heads
Use: the agent writes sub-goals and says when it switches
Evidence: code+run

Shaping adds to r_t, and so reaches earlier turns: ``keep_penalty`` on turns that do not switch, minus
``invalid_penalty`` on invalid actions, ``keep_consistency_penalty`` on a kept turn whose sub-goal's text differs
from that of the turn before. With ``bootstrap_truncated``, E after a cut episode is L of that last turn (low), or
H of the segment's first turn (high and term). A trainer puts low on a step's action tokens, high on the sub-goal's
tokens of a segment's first turn, and term on the switch; the other steps have high 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.normalize import SNAP
from credit.penalty import penalty_of
from credit.returns import check_discount, discounted_sum
from credit.scheme import Amount, Ddof, Epsilon, Factor, Share, scheme
from credit.steps import BoolArray, FloatArray, IntArray, Steps

Stream = Literal["low", "high", "term"]


@scheme(
    needs=("switch", "terminated", "value_low", "value_high"),
    claims=("local",),
    compat={"verl-agent": {"keep_penalty": -0.3, "invalid_penalty": 0.1, "keep_consistency_penalty": -0.3}},
)
def hiper(
    steps: Steps,
    *,
    stream: Stream = "low",
    gamma: Share = 0.99,
    lambda_turn: Share = 0.95,
    lambda_segment: Share = 0.95,
    keep_penalty: Amount = 0.0,
    keep_penalty_mode: Literal["fixed", "normalized"] = "fixed",
    keep_consistency_penalty: Amount = 0.0,
    invalid_penalty: Factor = 0.0,
    bootstrap_truncated: bool = False,
    normalize_streams: bool = False,
    ddof: Ddof = 0,
    epsilon: Epsilon = 1e-8,
    compat: Literal["verl-agent"] | None = None,
) -> FloatArray:
    """One stream of HiPER's advantages of every step.

    Args:
        steps: the step table; ``value_term`` is needed for the stream ``"term"``, ``subgoal`` and ``is_valid``
            where their penalties are not 0.
        stream: which of the three.
        gamma: discount, in [0, 1].
        lambda_turn, lambda_segment: how far to look beyond the next value, in [0, 1].
        keep_penalty: added for a turn that keeps its sub-goal (-0.3 was used on ALFWorld, -3.5 on WebShop).
        keep_penalty_mode: add it as it is, or divided by the episode's number of turns if that is above 1.
        keep_consistency_penalty: added for a kept sub-goal with another text.
        invalid_penalty: taken off for every invalid action.
        bootstrap_truncated: continue with a value after an episode that was cut.
        normalize_streams: bring the stream to mean 0 and variance 1 over the batch (high: over segments).
        ddof: that variance divides by the number of turns minus this.
        epsilon: added to that standard deviation.
        compat: ``"verl-agent"`` for the penalties of the released ALFWorld script.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    for name, number in (("gamma", gamma), ("lambda_turn", lambda_turn), ("lambda_segment", lambda_segment)):
        check_discount(name, number)
    reward = steps.reward - penalty_of(steps, invalid_penalty, "before_discounting", "before_discounting")
    reward = reward + _keeping(steps, keep_penalty, keep_penalty_mode, keep_consistency_penalty)
    begins = steps.column("switch").copy()
    begins[steps.starts] = True
    if stream == "low":
        advantage = _low(steps, reward, begins, gamma, lambda_turn, bootstrap_truncated)
    else:
        advantage = _segment_returns(steps, reward, begins, gamma, bootstrap_truncated)
        if stream == "high":
            advantage = _high(steps, advantage, begins, gamma, lambda_segment)
        else:
            advantage = advantage - steps.column("value_term")
    if normalize_streams:
        advantage = _z_scored(advantage, begins if stream == "high" else np.ones_like(begins), ddof, epsilon)
    return advantage


def _keeping(steps: Steps, penalty: float, mode: str, consistency: float) -> FloatArray:
    """Shaping of the turns that do not switch."""
    keeps = ~steps.column("switch")
    shaping = np.where(keeps, penalty, 0.0)
    if mode == "normalized":
        shaping = shaping / steps.per_step(steps.lengths) * steps.per_step(steps.lengths > 1)
    if consistency:
        subgoal = steps.column("subgoal")
        empty = np.flatnonzero(steps.labels["subgoal"] == "") if "subgoal" in steps.labels else ()
        subgoal = np.where(np.isin(subgoal, empty), -1, subgoal)
        before = np.roll(subgoal, 1)
        changed = keeps & (steps.step > 0) & (subgoal != before) & (subgoal >= 0) & (before >= 0)
        shaping = shaping + np.where(changed, consistency, 0.0)
    return shaping


def _ends(steps: Steps, begins: BoolArray) -> BoolArray:
    """Last turn of each segment."""
    return steps.is_last | np.roll(begins, -1)


def _low(steps: Steps, reward: FloatArray, begins: BoolArray, gamma: float, lam: float, bootstrap: bool) -> FloatArray:
    ends, value = _ends(steps, begins), steps.column("value_low")
    following = np.where(ends, np.roll(steps.column("value_high"), -1), np.roll(value, -1))
    cut = np.where(steps.column("terminated"), 0.0, value) if bootstrap else np.zeros(len(steps))
    following = np.where(steps.is_last, cut, following)
    return discounted_sum(reward + gamma * following - value, np.where(ends, 0.0, gamma * lam))


def _segment_returns(steps: Steps, reward: FloatArray, begins: BoolArray, gamma: float, bootstrap: bool) -> FloatArray:
    """G_t: what the segment still earns, and the high value after it."""
    ends, value = _ends(steps, begins), steps.column("value_high")
    after = np.where(steps.is_last, 0.0, np.roll(value, -1))
    if bootstrap:
        of_segment = value[np.flatnonzero(begins)][np.cumsum(begins) - 1]
        after = np.where(steps.is_last & ~steps.column("terminated"), of_segment, after)
    return discounted_sum(reward + np.where(ends, gamma * after, 0.0), np.where(ends, 0.0, gamma))


def _high(steps: Steps, returned: FloatArray, begins: BoolArray, gamma: float, lam: float) -> FloatArray:
    first: IntArray = np.flatnonzero(begins)
    length = np.diff(np.append(first, len(steps)))
    closes = steps.is_last[first + length - 1]
    delta = returned[first] - steps.column("value_high")[first]
    advantage = np.zeros(len(steps))
    advantage[first] = discounted_sum(delta, np.where(closes, 0.0, gamma**length * lam))
    return advantage


def _z_scored(values: FloatArray, where: BoolArray, ddof: int, epsilon: float) -> FloatArray:
    chosen = values[where]
    deviation = chosen - chosen.mean()
    deviation[np.abs(deviation) <= SNAP * max(1.0, float(np.abs(chosen).max()))] = 0.0
    std = np.sqrt(np.square(deviation).sum() / max(len(chosen) - ddof, 1))
    scored = np.zeros_like(values)
    scored[where] = deviation / (std + epsilon)
    return scored
