"""Exact advantages: all states of a task within the horizon, counted in the environment's own model of them.

The policy must be Markov: its action probabilities depend on the state alone (``is_markov``). With h steps left,
V_0 = 0, and moves that are certain, from s by a to s' with reward r,

    Q_h(s, a) = r where that ends the episode, else r + V_{h-1}(s'),   V_h(s) = sum_a pi(a | s) Q_h(s, a),   A = Q - V
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agentbench.analysis.truth.table import EpisodeTruth
from agentbench.runs.episodes import Episode
from credit.steps import FloatArray, IntArray
from envs.base.errors import UserError
from envs.contract import StateModel, Task, TextEnv
from policies.contract import KnowsProbabilities, Prompt


class TooManyStatesError(UserError):
    """A task has more states within the horizon than were allowed."""


def solve_task(
    environment: TextEnv,
    model: StateModel,
    policy: KnowsProbabilities,
    task: Task,
    episodes: Sequence[Episode],
    limit: int,
    all_actions: bool = False,
) -> Iterator[EpisodeTruth]:
    """Count the states of a task once, and yield the exact truth of each of its episodes.

    Args:
        environment: its ``max_steps`` is the horizon.
        model: of the task's states.
        policy: one that is Markov.
        task, episodes: the task and episodes of it.
        limit: most states to count.
        all_actions: tell the advantages of all admissible actions too.

    Raises:
        TooManyStatesError: there are more states.
    """
    observation, info = environment.reset(options={"task": task.name})

    def probabilities(actions: list[str]) -> Sequence[float]:
        found = policy.probabilities(Prompt.first(task, observation, {**info, "admissible_actions": actions}))
        assert found is not None, "a Markov policy's answers are admissible"
        return found

    values = solve_states(model, environment.max_steps, probabilities, limit)
    for episode in episodes:
        steps = values.steps([step.action for step in episode.steps])
        yield EpisodeTruth(
            task.id,
            episode.trial,
            "exact",
            advantage=[advantage for _, advantage, _ in steps],
            standard_error=[0.0] * len(steps),
            value=[value for _, _, value in steps],
            state=[str(state) for state, _, _ in steps],
            probabilities=[list(probabilities(step.admissible_actions or [])) for step in episode.steps],
            critic=[value for _, _, value in steps],
            actions=values.judged(episode) if all_actions else None,
        )


@dataclass(frozen=True)
class StateValues:
    """Values of the states that can be reached within the horizon.

    Attributes:
        model: of the states.
        number: number of each state.
        value: V with h steps left, shape ``(horizon + 1, states)``; right where a state can be reached in time.
        horizon: steps after which an episode is cut.
    """

    model: StateModel
    number: dict[Hashable, int]
    value: FloatArray
    horizon: int

    def judged(self, episode: Episode) -> list[list[list[float]]]:
        """Return advantage and standard error, which is 0, of every admissible action of each step of an episode."""
        state, found = self.model.start, []
        for number, step in enumerate(episode.steps):
            moves = {move[0]: move for move in self.model.moves(state)}
            left, here = self.horizon - number, float(self.value[self.horizon - number, self.number[state]])
            judged = []
            for name in step.admissible_actions or []:
                _, following, reward, is_over = moves[name]
                after = 0.0 if is_over or left == 1 else float(self.value[left - 1, self.number[following]])
                judged.append([reward + after - here, 0.0])
            found.append(judged)
            state = moves[step.action][1]
        return found

    def steps(self, actions: Sequence[str]) -> list[tuple[int, float, float]]:
        """Follow an episode from the start.

        Returns:
            of each step: number of the state, true advantage of its action, value of its state.

        Raises:
            UserError: an action was not admissible; a policy with known probabilities never takes one.
        """
        state, found = self.model.start, []
        for step, name in enumerate(actions):
            move = next((each for each in self.model.moves(state) if each[0] == name), None)
            if move is None:
                raise UserError(f"step {step}: {name!r} is not admissible, so the policy's probabilities are wrong")
            _, following, reward, is_over = move
            left = self.horizon - step
            value = float(self.value[left, self.number[state]])
            quality = reward + (0.0 if is_over else float(self.value[left - 1, self.number[following]]))
            found.append((self.number[state], quality - value, value))
            state = following
        return found


def solve_states(
    model: StateModel, horizon: int, probabilities: Callable[[list[str]], Sequence[float]], limit: int = 200_000
) -> StateValues:
    """Count the states within the horizon, and compute their values by dynamic programming.

    Args:
        model: of the states.
        horizon: steps after which an episode is cut, at least 1.
        probabilities: chance of each of the admissible actions of a state.
        limit: most states to count.

    Raises:
        TooManyStatesError: there are more.
    """
    number: dict[Hashable, int] = {model.start: 0}
    # Millions of them: no Python objects.
    owner, following, chance, rewards = array("q"), array("q"), array("d"), array("d")
    layer = [model.start]
    for _ in range(horizon):
        reached: list[Hashable] = []
        for state in layer:
            moves = list(model.moves(state))
            chances = probabilities([name for name, *_ in moves])
            for (_, after, reward, is_over), probability in zip(moves, chances, strict=True):
                if is_over:
                    place = _END
                elif (known := number.get(after)) is not None:
                    place = known
                else:
                    place = number[after] = len(number)
                    reached.append(after)
                    if place >= limit:
                        raise TooManyStatesError(_too_many(limit, horizon))
                owner.append(number[state])
                following.append(place)
                chance.append(probability)
                rewards.append(reward)
        layer = reached
    arrays = np.array(owner), np.array(following), np.array(chance), np.array(rewards)
    return StateValues(model, number, _values(*arrays, len(number), horizon), horizon)


def _too_many(limit: int, horizon: int) -> str:
    return (
        f"the game has more than {limit:,} states within {horizon} steps: shorten --max-steps, choose smaller games "
        "(generated:0:20:small), raise --state-limit, or take --method monte-carlo"
    )


_END = -1


def _values(
    owner: IntArray, following: IntArray, chance: FloatArray, reward: FloatArray, states: int, horizon: int
) -> FloatArray:
    """V of every state by steps left, shape ``(horizon + 1, states)``."""
    value = np.zeros((horizon + 1, states + 1))  # the last column: the end, after which nothing comes
    for left in range(1, horizon + 1):
        value[left, :-1] = np.bincount(owner, chance * (reward + value[left - 1, following]), minlength=states)
    return value[:, :-1]
