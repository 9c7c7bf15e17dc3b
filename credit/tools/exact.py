"""Exact advantages of small decision processes, to measure how good an estimate is.

A process is tabular with a finite horizon H: state s, observation o(s), policy pi(a | o), transitions
p(s', r, end | s, a). Going backwards in time t = H-1 … 0, with V_H = 0:

    Q_t(s, a) = sum p (r + (1 - end) V_{t+1}(s')),   V_t(s) = sum_a pi(a | o(s)) Q_t(s, a),   A = Q - V

and the gradient of V_0(start) by softmax logits theta[o, a] sums, over time and states with occupancy d_t(s),

    d_t(s) sum_a pi(a | o) A_t(s, a) (onehot(a) - pi(. | o))

Source: policy gradient theorem (Sutton et al., 1999) for a finite horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from credit.steps import FloatArray, IntArray, Steps


@dataclass(frozen=True)
class Process:
    """A tabular decision process with S states, O observations, A actions and its policy.

    Attributes:
        probability: p(s' | s, a), shape ``(S, A, S)``.
        going_on: p(s', not the end | s, a), shape ``(S, A, S)``.
        reward: expected reward, shape ``(S, A)``.
        observation: of each state, shape ``(S,)``.
        policy: shape ``(O, A)``.
        start: state in which every episode begins.
        horizon: number of steps after which an episode is cut.
    """

    probability: FloatArray
    going_on: FloatArray
    reward: FloatArray
    observation: IntArray
    policy: FloatArray
    start: int
    horizon: int

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Process:
        """Make a process of its JSON form: ``transitions[s][a]`` lists (probability, s', reward, end)."""
        states, actions = record["num_states"], record["num_actions"]
        probability, going_on = np.zeros((states, actions, states)), np.zeros((states, actions, states))
        reward = np.zeros((states, actions))
        for state, by_action in enumerate(record["transitions"]):
            for action, outcomes in enumerate(by_action):
                for chance, following, gain, end in outcomes:
                    probability[state, action, following] += chance
                    going_on[state, action, following] += chance * (not end)
                    reward[state, action] += chance * gain
        observation = np.array(record["observation"], dtype=np.int64)
        policy = np.array(record["policy"], dtype=np.float64)
        return cls(probability, going_on, reward, observation, policy, record["start"], record["horizon"])


@dataclass(frozen=True)
class Solution:
    """Exact values of a process.

    Attributes:
        V: value of each state, shape ``(H + 1, S)``.
        Q, A: value and advantage of each action, shape ``(H, S, A)``.
        gradient: of the objective by the policy's logits, shape ``(O, A)``.
        objective: value of the start.
    """

    V: FloatArray
    Q: FloatArray
    A: FloatArray
    gradient: FloatArray
    objective: float


def solve(process: Process) -> Solution:
    """Compute values, advantages and the policy gradient by dynamic programming."""
    states, actions = process.reward.shape
    horizon, policy = process.horizon, process.policy[process.observation]
    value, quality = np.zeros((horizon + 1, states)), np.zeros((horizon, states, actions))
    for t in reversed(range(horizon)):
        quality[t] = process.reward + process.going_on @ value[t + 1]
        value[t] = (policy * quality[t]).sum(axis=1)
    advantage = quality - value[:-1, :, None]
    gradient = np.zeros(process.policy.shape)
    occupancy = np.zeros(states)
    occupancy[process.start] = 1.0
    for t in range(horizon):
        # sum_a pi A = 0, so the term with -pi(. | o) vanishes
        np.add.at(gradient, process.observation, occupancy[:, None] * policy * advantage[t])
        occupancy = np.einsum("s,sa,sak->k", occupancy, policy, process.going_on)
    return Solution(value, quality, advantage, gradient, float(value[0, process.start]))


def group_steps(rows: Mapping[str, Any], observation: IntArray, group: int = 0) -> Steps:
    """Make the step table of recorded rows; what the agent observes of a state is the anchor state.

    Args:
        rows: columns ``trajectory, step, observation, action, next_state, reward, terminated``.
        observation: of each state, shape ``(S,)``.
        group: id of the group.

    Returns:
        The table; ``next_state`` after the end of an episode is -1, which no observation is.
    """
    table = pd.DataFrame(rows).rename(columns={"trajectory": "episode", "observation": "anchor"})
    is_last = ~table["episode"].duplicated(keep="last")
    table["group"], table["is_valid"] = group, True
    table["next_state"] = np.where(table["terminated"], -1, observation[table["next_state"]])
    table["truncated"] = is_last & ~table["terminated"]
    table["reward"] = table["reward"].astype(float)
    return Steps.from_frame(table.drop(columns="state", errors="ignore").rename(columns={"anchor": "state"}))


def group_gradient(
    advantage: FloatArray, observation: IntArray, action: IntArray, policy: FloatArray, episodes: int
) -> FloatArray:
    """Policy gradient that one group of rows estimates: mean over episodes of A (onehot(a) - pi), shape ``(O, A)``."""
    gradient = np.zeros(policy.shape)
    np.add.at(gradient, (observation, action), advantage)
    np.subtract.at(gradient, observation, advantage[:, None] * policy[observation])
    return gradient / episodes


def quality(
    estimates: list[FloatArray],
    exact: list[FloatArray],
    gradients: list[FloatArray],
    gradient: FloatArray,
    floor: float = 0.02,
) -> dict[str, float]:
    """How near estimated advantages of many groups come to the exact ones.

    Args:
        estimates, exact: advantage per row, a list entry a group.
        gradients: what :func:`group_gradient` makes of each group's estimate.
        gradient: the exact gradient, shape ``(O, A)``.
        floor: rows whose exact advantage is smaller do not count for the sign.

    Returns:
        ``pearson`` correlation over all rows; ``sign_accuracy`` (a 0 counts as wrong); the cosine of the mean
        gradient with the exact one; and the mean cosine of single groups (0 for a gradient of 0).
    """
    found, truth = np.concatenate(estimates), np.concatenate(exact)
    clear = np.abs(truth) > floor
    constant = found.std() == 0 or truth.std() == 0
    return {
        "pearson": 0.0 if constant else float(np.corrcoef(found, truth)[0, 1]),
        "sign_accuracy": float((np.sign(found) == np.sign(truth))[clear].mean()) if clear.any() else 0.0,
        "cosine_mean_gradient": cosine(np.mean(gradients, axis=0), gradient),
        "mean_cosine_one_group": float(np.mean([cosine(one, gradient) for one in gradients])),
    }


def cosine(a: FloatArray, b: FloatArray) -> float:
    """Cosine of the angle between two arrays read as vectors; 0 where one of them is 0."""
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / norm) if norm else 0.0
