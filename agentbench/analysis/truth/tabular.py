"""Episodes of a tabular problem, with the exact value and advantage of every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from agentbench.analysis.truth.problems import Problem
from agentbench.runs.episodes import Episode, Step
from credit.steps import BoolArray, FloatArray, IntArray
from credit.tools.exact import Solution, solve
from envs.base.digest import digest_of_json

ACTION_NAMES = ("forward", "back", "stay", "pick up")
HARVEST_NAMES = ("pick", "wait", "leave")


@dataclass(frozen=True)
class TabularEpisodes:
    """Steps of many episodes, one row a step, episodes contiguous and in time order.

    Attributes:
        problem: what was played.
        solution: its exact values.
        episode, step, state, action, next_state: int64, shape ``(n,)``.
        reward: float64, shape ``(n,)``.
        terminated: the step ended the episode, in the goal if there is one, shape ``(n,)``.
        advantage, value: exact A of the step's action and V of its state, shape ``(n,)``.
    """

    problem: Problem
    solution: Solution
    episode: IntArray
    step: IntArray
    state: IntArray
    action: IntArray
    next_state: IntArray
    reward: FloatArray
    terminated: BoolArray
    advantage: FloatArray
    value: FloatArray

    @property
    def is_last(self) -> BoolArray:
        """Whether a row is the last one of its episode."""
        return np.append(self.episode[1:] != self.episode[:-1], True)


def play_problem(problem: Problem, episodes: int, seed: int) -> TabularEpisodes:
    """Play a problem's own policy.

    Args:
        problem: what to play.
        episodes: how many times, at least 1.
        seed: of every draw; the first episodes of a longer play are not those of a shorter one.
    """
    start = np.full(episodes, problem.process.start)
    draw = np.random.default_rng([seed, episodes])
    return play_from(problem, solve(problem.process), start, np.zeros_like(start), draw)


def play_from(
    problem: Problem, solution: Solution, state: IntArray, step: IntArray, draw: np.random.Generator
) -> TabularEpisodes:
    """Play a problem's own policy from some states on.

    Args:
        problem: what to play.
        solution: its exact values.
        state, step: where each episode goes on, and the number of its next step; int64, shape ``(episodes,)``.
        draw: of all that is drawn.
    """
    process = problem.process
    states = len(process.observation)
    # An outcome is a next state, and whether the episode continues there: 2 S of them.
    outcomes = np.concatenate([process.going_on, process.probability - process.going_on], axis=2).cumsum(axis=2)
    choices = process.policy[process.observation].cumsum(axis=1)
    playing, at, time = np.arange(len(state)), state, step
    parts = []
    while len(playing):
        action = _draw(choices[at], draw)
        outcome = _draw(outcomes[at, action], draw)
        terminated, following = outcome >= states, outcome % states
        parts.append((playing, time, at, action, following, terminated))
        going = ~terminated & (time + 1 < process.horizon)
        playing, at, time = playing[going], following[going], time[going] + 1
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    episode, time, at, action, following, terminated = (column[order] for column in columns)
    reward = process.reward[at, action] if problem.pays_on_the_way else terminated.astype(np.float64)
    return TabularEpisodes(
        problem, solution, episode, time, at, action, following, reward, terminated,
        solution.A[time, at, action], solution.V[time, at],
    )  # fmt: skip


def as_episodes(played: TabularEpisodes) -> Iterator[Episode]:
    """Yield the episodes as a run stores them: one task, trials 0, 1, …

    The observation is the anchor state.
    """
    problem = played.problem
    task_id = digest_of_json([problem.name, problem.settings])
    seen = problem.process.observation
    bounds = np.concatenate([[0], np.flatnonzero(played.is_last) + 1])
    names = [_action_name(problem, action) for action in range(len(problem.valid))]
    for trial, (first, end) in enumerate(pairwise(bounds)):
        rows = range(int(first), int(end))
        earned = np.cumsum(played.reward[first:end])
        ended, won = bool(played.terminated[end - 1]), bool(earned[-1] >= 1 - 1e-9)
        steps = [
            Step(
                observation=f"You are at {seen[played.state[row]]}.",
                anchor=str(seen[played.state[row]]),
                admissible_actions=list(names),
                action=names[played.action[row]],
                reward=float(played.reward[row]),
                is_valid=bool(problem.valid[played.action[row]]),
                terminated=bool(played.terminated[row]),
                truncated=row == int(end) - 1 and not ended,
                score=float(np.clip(earned[row - int(first)], 0.0, 1.0)),
            )
            for row in rows
        ]
        place = "the end" if problem.pays_on_the_way else "the goal"
        place = place if ended else str(seen[played.next_state[end - 1]])
        yield Episode(
            task_id=task_id,
            task_name=problem.name,
            task_type=problem.name,
            instruction=_instruction(problem),
            trial=trial,
            outcome="success" if won else "failure",
            won=won,
            score=float(np.clip(earned[-1], 0.0, 1.0)),
            steps=steps,
            final_observation=f"You are at {place}.",
            final_anchor=place,
        )


def _instruction(problem: Problem) -> str:
    if problem.pays_on_the_way:
        return "Pick what is worth picking, then leave."
    return f"Reach the goal of the problem {problem.name}."


def _action_name(problem: Problem, action: int) -> str:
    if not problem.valid[action]:
        return "nonsense"
    if problem.name == "stochastic":
        return f"way {action}"
    return (HARVEST_NAMES if problem.name == "harvest" else ACTION_NAMES)[action]


def _draw(cumulated: FloatArray, draw: np.random.Generator) -> IntArray:
    """Draw one index from each row of cumulated probabilities."""
    below = draw.random(len(cumulated))[:, None] * cumulated[:, -1:]
    return np.asarray(np.minimum((cumulated <= below).sum(axis=1), cumulated.shape[1] - 1))
