"""SeeUPO: turns are updated from the last to the first; each turn's outcomes are normalised among themselves.

Equation: A_t = c_t clip(n_t, -clamp, clamp)
    n_t = (d_t - mean_t(d)) / std_t(d)   if std_t(d) > std_floor, else d_t - mean_t(d)
    d_t = s_i - mean_{g,t}(s);   c_t = clip(c_{t+1} clip(exp(l_{t+1}), ratio_min, ratio_max), ratio_min, ratio_max)
Symbols: s_i outcome of the step's episode, the same at all turns; mean_{g,t} over the group's steps with turn index
    t, mean_t and std_t over all steps of the batch with it (std with ddof 1); l_t mean log-ratio of the new to the
    old policy over the tokens of turn t; c_t carried ratio, 1 at an episode's last turn.
Source: SeeUPO (arXiv 2602.06554); AgentEvolver, branch seeupo, beyondagent/module/trainer/ba_ray_trainer.py.
Cost: an update and a log-probability pass a turn
Use: turns updated one after the other, the last first
Evidence: code+run
    Of the normalisation; the carried ratio and the order of turns were read in the code.

Only part of SeeUPO is an advantage. A trainer takes the turns of :func:`turn_batches` one after the other: it
updates on one, measures that turn's log-ratio, and so knows the carried ratio of the turn before. Where the table
has a column ``log_ratio`` the ratio is computed here; otherwise it is 1, as in the first pass.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP, Singleton, normalize_within
from credit.returns import outcomes
from credit.scheme import Ddof, Epsilon, Positive, scheme
from credit.steps import CreditError, FloatArray, IntArray, Steps


@scheme(compares=("group", "step"), claims=("zero_without_reward",), compat={"released": {"singleton": "raw"}})
def seeupo(
    steps: Steps,
    *,
    group_center: bool = True,
    batch_norm: bool = True,
    ddof: Ddof = 1,
    std_floor: Epsilon = 1e-6,
    clamp: Positive = 3.0,
    singleton: Singleton = "zero",
    ratio_min: Positive = 0.8,
    ratio_max: Positive = 1.2,
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """SeeUPO advantage of every step.

    Args:
        steps: the step table; the column ``log_ratio`` is read where it is there.
        group_center: subtract the group's mean within each turn.
        batch_norm: then normalise over all of the batch's steps of the turn.
        ddof: the variance divides by the number of steps minus this.
        std_floor: a smaller standard deviation is not divided by.
        clamp: bound of the advantage's size, before the ratio.
        singleton: a group with one step in a turn gives 0, or its own outcome.
        ratio_min, ratio_max: bounds of each turn's ratio and of the carried one.
        compat: ``"released"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    if clamp <= 0 or not 0 < ratio_min <= ratio_max:
        raise CreditError("seeupo: clamp must be above 0, and 0 < ratio_min <= ratio_max")
    advantage = steps.per_step(outcomes(steps))
    if group_center:
        of_turn = Groups.by(steps.group, steps.step)
        advantage = normalize_within(advantage, of_turn, normalize="mean", singleton=singleton)
    if batch_norm:
        advantage = _turn_normalized(advantage, Groups.by(steps.step), ddof, std_floor)
    advantage = np.clip(advantage, -clamp, clamp)
    if "log_ratio" in steps.extra:
        advantage = advantage * carried_ratio(steps, ratio_min, ratio_max)
    return np.asarray(advantage)


def turn_batches(steps: Steps) -> list[IntArray]:
    """Rows of each turn index, the last turn first: the order in which SeeUPO updates; in the table's row order."""
    order = np.argsort(-steps.step, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(steps.step[order])) + 1) if len(order) else []


def carried_ratio(steps: Steps, ratio_min: float, ratio_max: float) -> FloatArray:
    """Clipped running product of the ratios of the episode's later turns, shape ``(n,)``; for rows in order.

    One turn maps c to clip(c x, low, high), and so do two in a row (with another x, low and high): the maps of
    longer and longer stretches are composed, in log2(longest episode) passes.
    """
    scale = np.roll(np.clip(np.exp(steps.column("log_ratio")), ratio_min, ratio_max), -1)
    scale[steps.is_last] = 1.0
    low, high = np.full(len(steps), ratio_min), np.full(len(steps), ratio_max)
    left = steps.per_step(steps.lengths) - 1 - steps.step  # turns that follow in the episode
    low[steps.is_last], high[steps.is_last] = min(ratio_min, 1.0), max(ratio_max, 1.0)
    reach = 1
    while reach <= left.max():
        here = np.flatnonzero(left >= reach)
        there = here + reach
        a, lower, upper = scale[here], low[here], high[here]
        scale[here] = a * scale[there]
        low[here] = np.clip(a * low[there], lower, upper)
        high[here] = np.clip(a * high[there], lower, upper)
        reach *= 2
    return np.asarray(np.clip(scale, low, high))


def _turn_normalized(values: FloatArray, turns: Groups, ddof: int, std_floor: float) -> FloatArray:
    deviation = values - turns.mean(values)[turns.code]
    deviation[np.abs(deviation) <= SNAP * np.maximum(1.0, turns.largest(values))[turns.code]] = 0.0
    degrees = turns.size - ddof
    std = np.sqrt(turns.sum(np.square(deviation)) / np.maximum(degrees, 1))
    divisor = np.where((degrees > 0) & (std > std_floor), std, 1.0)
    return np.asarray(deviation / divisor[turns.code])
