"""Samples of tabular problems: how much of the state the schemes are shown can be chosen."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from agentbench.analysis.quality.anchors import merged
from agentbench.analysis.quality.inputs import entropy, reference_gap, surprise, with_inputs
from agentbench.analysis.quality.sample import Sample, cut, features_of
from agentbench.analysis.truth.problems import Problem
from agentbench.analysis.truth.tabular import TabularEpisodes, play_problem
from credit.steps import BoolArray, FloatArray, IntArray
from envs.base.errors import unknown

Anchor = Literal["observation", "state", "similarity", "merged-2", "merged-4", "unique"]
"""What schemes see as the anchor state: the observation of the policy, the true state, states whose descriptions
are similar in one (:func:`describe_state`), 2 or 4 neighbouring states in one, or nothing that ever comes again."""

_VARIANTS = 4
"""Number of other texts that noise can turn an observation into."""


def problem_sample(
    problem: Problem,
    group_size: int,
    groups: int,
    seed: int = 0,
    *,
    anchor: Anchor = "observation",
    noise: float = 0.0,
    history: int = 1,
) -> Sample:
    """Play a problem and lay out what the schemes see and what is true.

    Args:
        problem: what to play.
        group_size, groups: episodes a group, and groups.
        seed: of all draws.
        anchor, noise, history: see :func:`scheme_table`.
    """
    played = play_problem(problem, group_size * groups, seed)
    frame = scheme_table(played, group_size, seed, anchor=anchor, noise=noise, history=history)
    return with_truth(played, group_size, frame)


def with_truth(played: TabularEpisodes, group_size: int, frame: pd.DataFrame, own: BoolArray | None = None) -> Sample:
    """Return what the schemes see together with what is true.

    Args:
        played: episodes; every ``group_size`` numbers of them are a group.
        group_size: episodes a group.
        frame: what :func:`scheme_table` made of them; of trees, the whole course of every episode.
        own: of trees, see :class:`Sample`.
    """
    process = played.problem.process
    observation = process.observation[played.state]
    states, actions = process.reward.shape
    number = played.episode // group_size
    success = frame.groupby("episode")["reward"].transform("sum").to_numpy() >= 1
    return Sample(
        name=played.problem.name,
        batches=cut(frame),
        truth=played.advantage,
        standard_error=np.zeros(len(number)),
        group=number,
        episode=played.episode,
        success=success if own is None else success[own],
        cell=(played.step * states + played.state) * actions + played.action,
        features=features_of(observation, played.action, process.policy[observation], len(process.policy)),
        reference=played.solution.gradient.ravel(),
        task=np.zeros(int(number[-1]) + 1, dtype=np.int64),
        group_size=group_size,
        own=own,
    )


def scheme_table(
    played: TabularEpisodes,
    group_size: int,
    seed: int = 0,
    *,
    anchor: Anchor = "observation",
    noise: float = 0.0,
    history: int = 1,
) -> pd.DataFrame:
    """Lay out what the schemes see, a row a step, with the number of its group as ``number``.

    The anchors are what the schemes see; the policy always sees its observation.

    Args:
        played: episodes; every ``group_size`` numbers of them are a group.
        group_size: episodes a group.
        seed: of the noise.
        anchor: see :data:`Anchor`.
        noise: chance that the text of a state differs from its usual one, in [0, 1].
        history: an anchor is made of so many last observations, at least 1.
    """
    if anchor not in get_args(Anchor):
        raise unknown("anchor", anchor, get_args(Anchor))
    number = played.episode // group_size
    return _table(played, number, *_anchors(played, number, anchor, noise, history, seed))


def _table(played: TabularEpisodes, number: IntArray, here: IntArray, after: IntArray) -> pd.DataFrame:
    """Lay out what the schemes see: the anchors ``here`` and ``after`` each step, and what was done."""
    process, valid = played.problem.process, played.problem.valid
    uncertainty = np.array([entropy(row) for row in process.policy])
    frame = pd.DataFrame(
        {
            "number": number,
            "group": number,
            "episode": played.episode,
            "step": played.step,
            "reward": played.reward,
            "state": here,
            "next_state": after,
            "action": played.action,
            "is_valid": valid[played.action],
            "terminated": played.terminated,
            "truncated": played.is_last & ~played.terminated,
            "value": played.value,
            "entropy": uncertainty[process.observation[played.state]],
            "reference_gap": reference_gap(process.policy[process.observation[played.state]], played.action),
        }
    )
    return with_inputs(frame.assign(surprise=surprise(_chance_of_what_came(played), frame["step"])))


def _chance_of_what_came(played: TabularEpisodes) -> FloatArray:
    """Chance that the policy's action and the environment bring about what was observed after each step."""
    process = played.problem.process
    seen = np.eye(len(process.policy))[process.observation]  # shape (S, O)
    policy = process.policy[process.observation]
    reached = np.einsum("sa,san->sn", policy, process.going_on) @ seen
    ended = (policy[:, :, None] * (process.probability - process.going_on)).sum(axis=(1, 2))
    following = reached[played.state, process.observation[played.next_state]]
    return np.asarray(np.where(played.terminated, ended[played.state], following))


def describe_state(problem: Problem, state: int) -> str:
    """Tell of a state in words, as a text game would."""
    if problem.name == "harvest":
        return f"You have picked {state} rows of the field."
    if problem.name not in ("key-door", "aliased"):
        return f"You are in room {state} of the corridor."
    return f"You are in room {state // 2} of the corridor. You carry {'the key' if state % 2 else 'nothing'}."


def _anchors(
    played: TabularEpisodes, number: IntArray, anchor: Anchor, noise: float, history: int, seed: int
) -> tuple[IntArray, IntArray]:
    """Anchor state before and after every step, each of shape ``(n,)``; the goal is -1."""
    first, last = played.step == 0, played.is_last
    # One row more for each episode: the state that it ended in.
    rows = np.repeat(np.arange(len(first)), 1 + last)
    is_end = np.append(False, rows[1:] == rows[:-1])
    state = np.where(is_end, played.next_state[rows], played.state[rows])
    draw = np.random.default_rng([seed, 2])
    seen = _seen(played, state, number[rows], anchor)
    seen = seen * (_VARIANTS + 1) + (draw.random(len(seen)) < noise) * draw.integers(1, _VARIANTS + 1, len(seen))
    begins = first[rows] & ~is_end
    code = seen
    for back in range(1, history):
        earlier = np.roll(seen, back)
        for gone in range(back):
            earlier[np.roll(begins, gone)] = -1
        _, code = np.unique(np.stack([code, earlier]), axis=1, return_inverse=True)
    after = np.roll(code, -1)[~is_end]
    return code[~is_end], np.where(played.terminated, -1, after)


def _seen(played: TabularEpisodes, state: IntArray, number: IntArray, anchor: Anchor) -> IntArray:
    if anchor == "unique":
        return np.arange(len(state))
    if anchor == "observation":
        return played.problem.process.observation[state]
    if anchor == "similarity":
        texts = pd.Series(state).map(lambda one: describe_state(played.problem, one))
        return np.asarray(pd.factorize(merged(pd.Series(number), texts))[0], dtype=np.int64)
    return state // {"state": 1, "merged-2": 2, "merged-4": 4}[anchor]
