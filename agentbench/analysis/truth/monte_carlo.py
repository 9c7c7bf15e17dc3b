"""True values and advantages by branching: many rollouts of the policy from the points of an episode.

At step t of an episode with actions a_0 … a_{T-1}, rollout k continues from the snapshot of the point:

    V_k(t) = return of the policy from point t with the random numbers of rollout k,   V_k(T) = 0
    A_k(t) = r_t + V_k(t+1) - V_k(t),   A(t) = mean over k,   standard error = std over k / sqrt(K)

Further rollouts, apart from the K, give a critic: its value of a point shares no error with the truth.

Snapshots are exact, so r_t + V(t+1) is the value of the action taken. The random numbers of a rollout depend on k and
on the step alone (common random numbers): where rollout k at point t draws the action that the episode took, it goes
on as rollout k from point t + 1 does, so it stops at the next point that is measured and takes its value from there.
Then A_k(t) is exactly 0, and nothing has to be played twice. Errors of neighbouring steps are therefore correlated;
each one alone is unbiased with the stated standard error. Where all A_k(t) are equal, a spread of 0 would claim that
the truth is known: the standard error is then ``r √(0.75 / ((K+1)(K+2)))``, with r the range of all V_k of the episode.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agentbench.runs.episodes import Step
from agentbench.runs.provenance import stable_seed
from credit.steps import FloatArray
from envs.base.digest import digest_of_state
from envs.base.errors import UserError
from envs.contract import Task, TextEnv
from policies.contract import KnowsProbabilities, Policy, Prompt, Response

BATCH = 512
"""Rollouts that are played in step with each other, so that a policy sees them as one batch."""


Judged = list[list[float]]
"""Advantage and standard error of every admissible action of a step, in their order."""


@dataclass(frozen=True)
class Branched:
    """What branching found of one episode of T steps, each list of length T.

    Attributes:
        advantage, standard_error, value: see the module's text; the value is the mean of V_k(t).
        critic: the mean of V_k(t) over the further rollouts; None where there are none.
        state: of each step, a hash of the environment's state.
        probabilities: of the admissible actions of each step, or None where the policy does not say.
        actions: advantage and standard error of each of them (:func:`judge_actions`); None where nobody asked.
    """

    advantage: list[float]
    standard_error: list[float]
    value: list[float]
    critic: list[float] | None
    state: list[str | None]
    probabilities: list[list[float] | None]
    actions: list[Judged] | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point of an episode: what the policy sees there (its seed apart), and how to go back to it."""

    prompt: Prompt
    snapshot: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """An episode that was walked again, and where rollouts are to start from.

    Attributes:
        environment: where it was walked, and where its rollouts are played.
        task, trial: which episode.
        actions: T actions; none where rollouts are to start from a point of no episode.
        rewards: T rewards.
        points: the T points before the actions.
        measured: steps that rollouts are to start from, in order.
    """

    environment: TextEnv
    task: Task
    trial: int
    actions: list[str]
    rewards: list[float]
    points: list[Point]
    measured: Sequence[int]


@dataclass(frozen=True, slots=True)
class Returns:
    """How rollouts are judged.

    Attributes:
        gamma: discount, in [0, 1].
        penalty: taken off the reward of an invalid action.
    """

    gamma: float = 1.0
    penalty: float = 0.0

    def reward(self, reward: float, is_valid: bool) -> float:
        """Return what a step counts."""
        return reward - self.penalty * (not is_valid)


@dataclass(slots=True)
class _Rollout:
    """A rollout on its way: where it began, where it is, what it does next, what it earned so far.

    ``place`` is its step on the track while it does what the episode did, then None.
    """

    track: Track
    number: int
    begun: int
    place: int | None
    point: Point
    response: Response = field(default_factory=lambda: Response(""))
    earned: float = 0.0

    @property
    def length(self) -> int:
        return len(self.point.prompt.history) - len(self.track.points[self.begun].prompt.history)


def branch(
    environment: TextEnv,
    policy: Policy,
    task: Task,
    trial: int,
    steps: Sequence[Step],
    *,
    rollouts: int,
    seed: int,
    critic_rollouts: int = 0,
    all_actions: bool = False,
) -> Branched:
    """Estimate the true advantage of every step of an episode.

    Args:
        environment: anything with exact snapshots; its present episode is lost.
        policy: whose advantages; also who plays the rollouts.
        task, trial, steps: the episode.
        rollouts: K, at least 2.
        seed: of the run that the episode is from.
        critic_rollouts: further rollouts from each point, for the critic.
        all_actions: estimate the advantage of every admissible action too.

    Raises:
        UserError: fewer than 2 rollouts, or the environment does not repeat the episode.
    """
    if rollouts < 2:
        raise UserError(f"rollouts must be at least 2 for a standard error, got {rollouts}")
    track = walk_again(environment, task, trial, steps, stable_seed(seed, task.id, trial))
    (every,), _ = play_on([track], policy, rollouts + critic_rollouts, seed)
    found, further = every[:, :rollouts], every[:, rollouts:]
    following = np.vstack([found[1:], np.zeros(rollouts)])
    difference = np.array(track.rewards)[:, None] + following - found
    error = difference.std(axis=1, ddof=1) / np.sqrt(rollouts)
    return Branched(
        advantage=difference.mean(axis=1).tolist(),
        standard_error=np.where(error > 0, error, _unseen(rollouts) * np.ptp(every)).tolist(),
        value=found.mean(axis=1).tolist(),
        critic=further.mean(axis=1).tolist() if critic_rollouts else None,
        state=[_state_of(point) for point in track.points],
        probabilities=[_probabilities(policy, point.prompt) for point in track.points],
        actions=judge_actions(track, [step.admissible_actions for step in steps], policy, found, seed)
        if all_actions
        else None,
    )


def judge_actions(
    track: Track, offered: Sequence[Sequence[str] | None], policy: Policy, values: FloatArray, seed: int
) -> list[Judged]:
    """Measure every admissible action of every step of an episode, those that were not taken too.

    Each is carried out once from the snapshot of the step, and K rollouts go on from there with the random numbers that
    those from the step have: A(a) = mean over k of r_a + V_k(after a) - V_k(t), standard error as above.

    Args:
        track: the episode, walked again.
        offered: admissible actions of each of its T steps; None where the environment does not list them.
        policy: whose advantages.
        values: V_k of every point, shape ``(T, K)``.
        seed: of the rollouts that ``values`` come from.
    """
    found, nothing = [], np.zeros(values.shape[1])
    for at, actions in enumerate(offered):
        reached = [_carried_out(track, at, action) for action in actions or []]
        tracks = [after for after, _ in reached if after is not None]
        measured = iter(play_on(tracks, policy, values.shape[1], seed)[0])
        step: Judged = []
        for after, reward in reached:
            difference = reward + (nothing if after is None else next(measured)[0]) - values[at]
            step.append([float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(nothing)))])
        found.append(step)
    return found


def _carried_out(track: Track, at: int, action: str) -> tuple[Track | None, float]:
    """Carry an action out at a point; return where it leads, None if that is the end, and its reward."""
    point, environment = track.points[at], track.environment
    environment.restore(point.snapshot)
    observation, reward, terminated, truncated, info = environment.step(action)
    if terminated or truncated:
        return None, reward
    after = Point(point.prompt.after(Response(action), observation, info), environment.snapshot())
    return Track(environment, track.task, track.trial, [], [], [after], [0]), reward


def _unseen(rollouts: int) -> float:
    """Root mean square of a share that K rollouts did not show, from Jeffreys' prior: Beta(1/2, K + 1/2)."""
    return float(np.sqrt(0.75 / ((rollouts + 1) * (rollouts + 2))))


def walk_again(
    environment: TextEnv,
    task: Task,
    trial: int,
    steps: Sequence[Step],
    reset_seed: int,
    returns: Returns = Returns(),
) -> Track:
    """Play an episode again and keep its points, all of which are to be measured.

    Args:
        environment: anything with exact snapshots; its present episode is lost.
        task, trial, steps: the episode, of at least one step.
        reset_seed: what the environment was reset with.
        returns: how steps are judged.

    Raises:
        UserError: the environment does not repeat the episode.
    """
    observation, info = environment.reset(seed=reset_seed, options={"task": task.name})
    prompt = Prompt.first(task, observation, info, trial=trial)
    points: list[Point] = []
    rewards: list[float] = []
    ended = False
    for step in steps:
        if ended:
            raise UserError(f"task {task.name}, trial {trial}: the environment ends the episode earlier than recorded")
        points.append(Point(prompt, environment.snapshot()))
        observation, reward, terminated, truncated, info = environment.step(step.action)
        prompt = prompt.after(step.response, observation, info)
        rewards.append(returns.reward(reward, info["is_valid"]))
        ended = terminated or truncated
    if not ended:
        raise UserError(f"task {task.name}, trial {trial}: the environment continues where the recorded episode ended")
    actions = [step.action for step in steps]
    return Track(environment, task, trial, actions, rewards, points, range(len(points)))


def play_on(
    tracks: Sequence[Track],
    policy: Policy,
    rollouts: int,
    seed: int,
    returns: Returns = Returns(),
) -> tuple[list[FloatArray], int]:
    """Play rollouts from the measured points of some episodes, all in step with each other.

    Args:
        tracks: from :func:`walk_again`; those that share an environment should stand together.
        policy: who plays.
        rollouts: K, at least 1.
        seed: of every draw.
        returns: how rollouts are judged; the one that the tracks were made with.

    Returns:
        for each track V_k, float64 of shape (measured points, K); and the environment steps that it took.
    """
    found = [np.zeros((len(track.points) + 1, rollouts)) for track in tracks]
    joined = [np.full((len(track.points), rollouts), len(track.points)) for track in tracks]
    number = {id(track): place for place, track in enumerate(tracks)}
    waiting = [
        _Rollout(track, rollout, step, step if track.actions else None, track.points[step])
        for track in tracks
        for step in track.measured
        for rollout in range(rollouts)
    ]
    played = 0
    for start in range(0, len(waiting), BATCH):
        live = waiting[start : start + BATCH]
        while live:
            _choose(policy, live, seed)
            going_on = []
            for each in live:
                played += not _follows(each)
                if _advance(each, returns):
                    going_on.append(each)
                    continue
                own = number[id(each.track)]
                found[own][each.begun, each.number] = each.earned
                if each.place is not None:
                    joined[own][each.begun, each.number] = each.place
            live = going_on
    for values, ends, track in zip(found, joined, tracks, strict=True):
        for step in reversed(track.measured):
            values[step] += returns.gamma ** (ends[step] - step) * values[ends[step], np.arange(rollouts)]
    return [values[list(track.measured)] for values, track in zip(found, tracks, strict=True)], played


def _follows(rollout: _Rollout) -> bool:
    """Return whether a rollout is on its track and does next what the episode did there."""
    return rollout.place is not None and rollout.response.action == rollout.track.actions[rollout.place]


def _advance(rollout: _Rollout, returns: Returns) -> bool:
    """Carry out a rollout's next action; return whether it continues from there.

    It does not where the episode is over, or where it has come along the track to the next measured point.
    """
    track, factor = rollout.track, returns.gamma**rollout.length
    if _follows(rollout):
        assert rollout.place is not None
        rollout.earned += factor * track.rewards[rollout.place]
        rollout.place += 1
        if rollout.place == len(track.points) or rollout.place in track.measured:
            return False
        rollout.point = track.points[rollout.place]
        return True
    point, answer = rollout.point, rollout.response
    rollout.place = None
    track.environment.restore(point.snapshot)
    observation, reward, terminated, truncated, info = track.environment.step(answer.action)
    rollout.earned += factor * returns.reward(reward, info["is_valid"])
    if terminated or truncated:
        return False
    rollout.point = Point(point.prompt.after(answer, observation, info), track.environment.snapshot())
    return True


def _choose(policy: Policy, rollouts: list[_Rollout], seed: int) -> None:
    """Let the policy choose the next action of each rollout."""
    prompts = []
    for each in rollouts:
        track, prompt = each.track, each.point.prompt
        own = stable_seed(seed, "truth", track.task.id, track.trial, each.number, len(prompt.history))
        prompts.append(replace(prompt, seed=own))
    for each, response in zip(rollouts, policy.act(prompts), strict=True):
        each.response = response


def _state_of(point: Point) -> str:
    *_, state = point.snapshot  # without the step, the text and the end
    return digest_of_state(pickle.dumps(state, 4))


def _probabilities(policy: Policy, prompt: Prompt) -> list[float] | None:
    if not isinstance(policy, KnowsProbabilities):
        return None
    found = policy.probabilities(prompt)
    return None if found is None else [float(chance) for chance in found]
