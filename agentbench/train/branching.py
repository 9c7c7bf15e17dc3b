"""Values measured by branching: the upper control of a comparison, with the policy's own value as the baseline.

From every k-th state of every episode the policy that played it plays K rollouts to their ends; their mean return is an
unbiased estimate of its value V(s), as exact as K is large. Episodes of a task that came to a state by the same turns
share what was measured there. The states in between are given the value of the measured one before, less the reward
since:

    V(s_t+1) = (V(s_t) - r_t) / gamma

which depends on nothing that comes after, so as a baseline it biases no gradient; it only lies further from the truth.
The scheme reads all this as the column ``value``. ``gae`` with gamma = 1 makes of it, with lam = 1, return minus value:
that takes the luck before a step off, and leaves all that comes after it. With lam = 0 it is r + V(s') - V(s) (VinePPO,
Kazemnejad et al. 2024, arXiv 2410.01679), an estimate of the advantage itself: what comes after is averaged over the
rollouts. For that difference all episodes of a task share their random numbers, as the two values of
:mod:`agentbench.analysis.truth.monte_carlo` do, also where another episode came to the state first: a rollout that
takes the episode's action adds the same to both. With lam = 1 each episode has its own, as shared errors would not
average out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from agentbench.analysis.truth.monte_carlo import Returns, Track, play_on, walk_again
from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from agentbench.train.batch import discount, lookahead
from agentbench.train.config import TrainConfig
from agentbench.train.distributed import Ranks
from credit.steps import FloatArray
from envs.contract import TextEnv
from envs.registry import make
from policies.contract import Policy

State = tuple[str, ...]
"""A task, and all that was seen and done in it."""


class Branching:
    """Measures the values of visited states, each process those of its share of the groups.

    Args:
        config: ``branch_every`` and ``branch_rollouts`` say how much is played.
        ranks: the processes that train together.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.returns = Returns(discount(config), config.invalid_action_penalty)
        self._shares_numbers = lookahead(config) < 1.0
        self._walks = Walks(config, self.returns)

    def values(self, policy: Policy, groups: Sequence[Sequence[Episode]], step: int) -> tuple[FloatArray, int]:
        """Measure the value of every state of the groups of a training step.

        Args:
            policy: who played them, with the same weights.
            groups: episodes of at least one step; those of a group are of one task.
            step: number of the training step, of which all random numbers derive.

        Returns:
            float64 of shape (steps,), in the order of the groups; and the environment steps that it took.

        Raises:
            UserError: the environment does not repeat an episode.
        """
        config = self.config
        own = self.ranks.shares(list(groups))[self.ranks.rank]
        tracks = [self._walks.again(number, episode) for number, group in enumerate(own) for episode in group]
        if self._shares_numbers:
            tracks = [replace(track, trial=0) for track in tracks]
        tracks = list(_each_state_once(tracks, config.branch_every))
        seed = stable_seed(config.seed, "branching", step)
        found, played = play_on(tracks, policy, config.branch_rollouts, seed, self.returns)
        known = {
            _state(track, at): float(returns.mean())
            for track, measured in zip(tracks, found, strict=True)
            for at, returns in zip(track.measured, measured, strict=True)
        }
        parts = [_spread(track, known, config.branch_every, self.returns.gamma) for track in tracks]
        total = self.ranks.sum({"branch_steps": float(played)})["branch_steps"]
        return np.concatenate(self.ranks.gather(parts)), int(total)

    def close(self) -> None:
        """Release the environments."""
        self._walks.close()


class Walks:
    """Walks episodes again, to where their states can be branched, in environments that each group has to itself."""

    def __init__(self, config: TrainConfig, returns: Returns) -> None:
        self.config, self.returns = config, returns
        self._environments: list[TextEnv] = []

    def again(self, number: int, episode: Episode) -> Track:
        """Walk an episode of the group with this number."""
        config = self.config
        while len(self._environments) <= number:
            self._environments.append(make(config.env, **{**config.env_options, "split": config.split}))
        environment = self._environments[number]
        task = environment.find_task(episode.task_id)
        return walk_again(environment, task, episode.trial, episode.steps, 0, self.returns)

    def close(self) -> None:
        """Release the environments."""
        for environment in self._environments:
            environment.close()


def _each_state_once(tracks: Sequence[Track], every: int) -> Iterator[Track]:
    """Have every k-th state of the episodes measured, in the first one that came there."""
    seen: set[State] = set()
    for track in tracks:
        states = {at: _state(track, at) for at in range(0, len(track.points), every)}
        yield replace(track, measured=[at for at, state in states.items() if state not in seen])
        seen.update(states.values())


def _state(track: Track, at: int) -> State:
    prompt = track.points[at].prompt
    turns = (text for turn in prompt.history for text in (turn.observation, turn.action))
    return (track.task.id, *turns, prompt.observation)


def _spread(track: Track, known: dict[State, float], every: int, gamma: float) -> FloatArray:
    """Give every step of an episode a value: the measured one, or what is left of the one before."""
    values = np.empty(len(track.points))
    for at in range(len(values)):
        measured = at % every == 0
        values[at] = known[_state(track, at)] if measured else (values[at - 1] - track.rewards[at - 1]) / gamma
    return values
