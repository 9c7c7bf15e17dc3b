"""True advantages by branching: many rollouts of the policy from every point of an episode.

At step t of an episode with actions a_0 … a_{T-1}, rollout k goes on from the snapshot of the point:

    V_k(t) = return of the policy from point t with the random numbers of rollout k,   V_k(T) = 0
    A_k(t) = r_t + V_k(t+1) - V_k(t),   A(t) = mean over k,   standard error = std over k / sqrt(K)

Further rollouts, apart from the K, give a critic: its value of a point shares no error with the truth.

Snapshots are exact, so r_t + V(t+1) is the value of the action taken. The random numbers of a rollout depend on k and
on the step alone (common random numbers): where rollout k at point t draws the action that the episode took, it goes
on as rollout k from point t + 1 does. Then A_k(t) is exactly 0, and nothing has to be played twice. Errors of
neighbouring steps are therefore correlated; each one alone is unbiased with the stated standard error.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentbench.provenance import stable_seed
from credit.steps import FloatArray
from envs.contract import Info, Task, TextEnv
from envs.errors import UserError
from policies.contract import Policy, Prompt, Turn

BATCH = 512
"""Rollouts that are played in step with each other, so that a policy sees them as one batch."""


@dataclass(frozen=True)
class Branched:
    """What branching found of one episode of T steps, each list of length T.

    Attributes:
        advantage, standard_error, value: see the module's text; the value is the mean of V_k(t).
        critic: the mean of V_k(t) over the further rollouts; None where there are none.
        state: of each step, a hash of the environment's state.
        probabilities: of the admissible actions of each step, or None where the policy does not say.
    """

    advantage: list[float]
    standard_error: list[float]
    value: list[float]
    critic: list[float] | None
    state: list[str | None]
    probabilities: list[list[float] | None]


@dataclass(slots=True)
class _Point:
    """A point of an episode: what the policy sees there, and how to go back to it."""

    observation: str
    info: Info
    history: tuple[Turn, ...]
    snapshot: tuple[Any, ...]

    def prompt(self, task: Task, trial: int, seed: int) -> Prompt:
        return Prompt(task, self.observation, self.info, self.history, seed, trial)


@dataclass(slots=True)
class _Rollout:
    """A rollout on its way: where it began, where it is, what it does next, what it earned."""

    step: int
    number: int
    point: _Point
    action: str
    earned: float = 0.0


def branch(
    environment: TextEnv,
    policy: Policy,
    task: Task,
    trial: int,
    actions: Sequence[str],
    *,
    rollouts: int,
    seed: int,
    critic_rollouts: int = 0,
) -> Branched:
    """Estimate the true advantage of every step of an episode.

    Args:
        environment: anything with exact snapshots; its present episode is lost.
        policy: whose advantages; also who plays the rollouts.
        task, trial, actions: the episode.
        rollouts: K, at least 2.
        seed: of the run that the episode is from.
        critic_rollouts: further rollouts from each point, for the critic.

    Raises:
        UserError: fewer than 2 rollouts, or the environment does not repeat the episode.
    """
    if rollouts < 2:
        raise UserError(f"rollouts must be at least 2 for a standard error, got {rollouts}")
    points, rewards = _replay(environment, task, trial, actions, seed)
    every = rollouts + critic_rollouts
    seeds = [
        [stable_seed(seed, "truth", task.id, trial, number, step) for number in range(every)]
        for step in range(environment.max_steps)
    ]
    first = [
        _Rollout(step, number, point, "")
        for step, point in enumerate(points)
        for number in range(every)
    ]  # fmt: skip
    _choose(policy, first, task, trial, seeds)
    found = np.full((len(actions) + 1, every), np.nan)
    apart = [each for each in first if each.action != actions[each.step]]
    for start in range(0, len(apart), BATCH):
        for done in _play(environment, policy, apart[start : start + BATCH], task, trial, seeds):
            found[done.step, done.number] = done.earned
    found[-1] = 0.0
    for step in reversed(range(len(actions))):
        found[step] = np.where(np.isnan(found[step]), rewards[step] + found[step + 1], found[step])
    found, further = found[:, :rollouts], found[:-1, rollouts:]
    difference = np.array(rewards)[:, None] + found[1:] - found[:-1]
    return Branched(
        advantage=difference.mean(axis=1).tolist(),
        standard_error=_standard_error(difference).tolist(),
        value=found[:-1].mean(axis=1).tolist(),
        critic=further.mean(axis=1).tolist() if critic_rollouts else None,
        state=[_state_of(point) for point in points],
        probabilities=[_probabilities(policy, point.prompt(task, trial, 0)) for point in points],
    )


def _replay(
    environment: TextEnv, task: Task, trial: int, actions: Sequence[str], seed: int
) -> tuple[list[_Point], list[float]]:
    """Play the episode again; return the point before each action and the reward after it."""
    observation, info = environment.reset(seed=stable_seed(seed, task.id, trial), options={"task": task.name})
    points: list[_Point] = []
    rewards: list[float] = []
    history: tuple[Turn, ...] = ()
    ended = False
    for action in actions:
        if ended:
            raise UserError(f"task {task.name}, trial {trial}: the environment ends the episode earlier than recorded")
        points.append(_Point(observation, info, history, environment.snapshot()))
        history = (*history, Turn(observation, action))
        observation, reward, terminated, truncated, info = environment.step(action)
        rewards.append(reward)
        ended = terminated or truncated
    if not ended:
        raise UserError(f"task {task.name}, trial {trial}: the environment goes on where the recorded episode ended")
    return points, rewards


def _play(
    environment: TextEnv, policy: Policy, rollouts: list[_Rollout], task: Task, trial: int, seeds: list[list[int]]
) -> Iterator[_Rollout]:
    """Play rollouts to their ends, all in step; each has its first action already."""
    live = rollouts
    while live:
        going_on = []
        for each in live:
            point = each.point
            environment.restore(point.snapshot)
            observation, reward, terminated, truncated, info = environment.step(each.action)
            each.earned += reward
            if terminated or truncated:
                yield each
                continue
            history = (*point.history, Turn(point.observation, each.action))
            each.point = _Point(observation, info, history, environment.snapshot())
            going_on.append(each)
        live = going_on
        _choose(policy, live, task, trial, seeds)


def _choose(policy: Policy, rollouts: list[_Rollout], task: Task, trial: int, seeds: list[list[int]]) -> None:
    """Let the policy choose the next action of each rollout."""
    for start in range(0, len(rollouts), BATCH):
        batch = rollouts[start : start + BATCH]
        prompts = [each.point.prompt(task, trial, seeds[len(each.point.history)][each.number]) for each in batch]
        for each, response in zip(batch, policy.act(prompts), strict=True):
            each.action = response.action


def _state_of(point: _Point) -> str:
    *_, state = point.snapshot  # without the step and the text
    return hashlib.blake2b(pickle.dumps(state, 4), digest_size=8).hexdigest()


def _standard_error(difference: FloatArray) -> FloatArray:
    return np.asarray(difference.std(axis=1, ddof=1) / np.sqrt(difference.shape[1]))


def _probabilities(policy: Policy, prompt: Prompt) -> list[float] | None:
    known = getattr(policy, "probabilities", None)
    if known is None:
        return None
    found = known(prompt)
    return None if found is None else [float(chance) for chance in found]
