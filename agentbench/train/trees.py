"""Groups as trees in training: how they are shaped, and which steps of an episode others branch off at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from agentbench.analysis.truth.monte_carlo import Returns, play_on
from agentbench.rollout.branch import Score, Scores, TreeOptions, first_invalid, goes_back, uniform
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.steps import steps_of
from agentbench.runs.trees import whole
from agentbench.train.branching import Walks
from agentbench.train.config import TrainConfig
from agentbench.train.update import pieces
from credit.registry import advantages
from envs.base.errors import UserError
from envs.registry import make
from policies.contract import Policy, Trainable

MEASURED = "branching"
"""Value of ``pivot_by`` for advantages that are measured."""

TIE = 1e-9
"""What chance adds to a score, so that it decides between equal ones alone."""


def tree_options(config: TrainConfig) -> TreeOptions | None:
    """Return the shape of the groups; None where they are as many episodes from the start as there are.

    Raises:
        UserError: the environment cannot go back, or the budget is below one episode.
    """
    if config.rollouts == "chain" and config.step_budget is None:
        return None
    environment = make(config.env, **{**config.env_options, "split": config.split})
    try:
        is_tree = config.rollouts == "tree"
        return TreeOptions(
            trees=config.trees if is_tree else config.group_size,
            forks=config.forks if is_tree else 0,
            rounds=config.fork_rounds,
            longest=environment.max_steps,
            depth=config.fork_depth,
            budget=config.step_budget,
            snapshots=not is_tree or goes_back(environment),
        )
    finally:
        environment.close()


def score_of(config: TrainConfig, policy: Policy, seed: int, measured: Measured) -> Score:
    """Return what decides where branches begin.

    Args:
        config: names it.
        policy: who plays.
        seed: of the rollouts.
        measured: what advantages are measured with, if they are.

    Raises:
        UserError: the policy cannot say how sure it is of an answer.
    """
    if config.fork_choice == "uniform":
        return uniform(seed)
    if config.fork_choice == "invalid":
        return first_invalid(seed)
    if config.fork_choice == "pivot" and config.pivot_by == MEASURED:
        return _by_chance(lambda episodes: measured.lowest_advantage(policy, episodes, seed), seed)
    if config.fork_choice == "pivot":
        return _by_chance(lambda episodes: lowest_advantage(config, episodes), seed)
    if not isinstance(policy, Trainable):
        raise UserError(f"fork_choice = entropy: policy {policy.name!r} does not say its entropies; choose another")
    return _by_chance(lambda episodes: entropies(config, policy, episodes), seed)


def _by_chance(score: Any, seed: int) -> Score:
    """Have chance decide between steps that score the same."""

    def scored(episodes: Sequence[Episode], number: int) -> list[Scores]:
        drawn = uniform(seed)(episodes, number)
        return [own + TIE * chance for own, chance in zip(score(episodes), drawn, strict=True)]

    return scored


def entropies(config: TrainConfig, policy: Trainable, episodes: Sequence[Episode]) -> list[Scores]:
    """Return the mean entropy of the tokens of each answer, in nats, by episode."""
    traces = [step.trace for episode in episodes for step in episode.steps]
    tokens = np.array([trace.tokens for trace in traces], dtype=np.int64)
    found = np.zeros(len(traces))
    with torch.no_grad():
        for rows in pieces(np.arange(len(traces)), tokens, config.token_budget):
            said = policy.likelihood([traces[row] for row in rows])
            count = said.mask.sum(1).clamp(min=1)
            found[rows] = ((said.entropy * said.mask).sum(1) / count).double().cpu().numpy()
    return _by_episode(found, episodes)


def lowest_advantage(config: TrainConfig, episodes: Sequence[Episode]) -> list[Scores]:
    """Return the advantage of each step under the scheme of ``pivot_by``, its sign turned, by episode."""
    table = steps_of([episodes], penalty=config.invalid_action_penalty, tree=True)
    found = advantages(config.pivot_by, table)
    return _by_episode(-found[table.extra["own"]], episodes)


class Measured:
    """Measures the advantage of every step by rollouts from before and after it, and counts what that takes.

    Attributes:
        played: environment steps of these rollouts so far.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.played = config, 0
        self._returns = Returns(penalty=config.invalid_action_penalty)
        self._walks = Walks(config, self._returns)

    def lowest_advantage(self, policy: Policy, episodes: Sequence[Episode], seed: int) -> list[Scores]:
        """Return r + V(s') - V(s) of each step, its sign turned, by episode; V is the mean of ``branch_rollouts``.

        Raises:
            UserError: the environment does not repeat an episode.
        """
        tracks = [replace(self._walks.again(0, course), trial=0) for course in whole(episodes)]
        tracks = [
            replace(track, measured=range(each.fork, len(track.points)))
            for each, track in zip(episodes, tracks, strict=True)
        ]
        found, played = play_on(tracks, policy, self.config.branch_rollouts, seed, self._returns)
        self.played += played
        scores = []
        for track, returns in zip(tracks, found, strict=True):
            value = np.append(returns.mean(axis=1), 0.0)
            scores.append(value[:-1] - value[1:] - np.array(track.rewards[-len(returns) :]))
        return scores

    def close(self) -> None:
        """Release the environment."""
        self._walks.close()


def _by_episode(values: Scores, episodes: Sequence[Episode]) -> list[Scores]:
    return np.split(values, np.cumsum([len(episode.steps) for episode in episodes])[:-1])


def tree_metrics(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Summarise the branches of a training step.

    ``tree/shared_steps`` are those of the branches' courses that were neither played nor asked of the policy, because
    their parents had played them; ``tree/replayed_steps`` those that the environment had to play again nevertheless.
    """
    branches = [each for each in episodes if each.parent is not None and is_judged(each.outcome)]
    return {
        "tree/branches": len(branches),
        "tree/shared_steps": sum(each.fork for each in branches),
        "tree/replayed_steps": sum(each.fork for each in branches if each.fork_by == "replay"),
        "tree/fork_depth": float(np.mean([each.fork for each in branches])) if branches else 0.0,
    }
