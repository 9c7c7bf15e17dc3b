"""Which tasks are played, and how often each: by what earlier groups of a task came to.

A group whose episodes all earned the same teaches schemes that compare them nothing. Every rule but ``uniform`` keeps
for each task two counts, of what it looks for and of the rest, at first 1 and 1; before a group adds its outcomes they
shrink by 0.9, as the policy changes. Their Beta distribution says what is known of the task::

    thompson   counts groups, mixed and equal; a chance of a mixed group is drawn for every task, and the tasks with
               the highest are played (Thompson 1933)
    variance   counts episodes, won and lost; a chance p of winning is drawn for every task, and the tasks with the
               highest variance p (1 - p) are played: the idea of VADE (arXiv 2511.18902), which decays in another way
    knapsack   counts episodes, won and lost. The tasks come in turn as under ``uniform``; the tasks_per_step *
               group_size episodes of a step are dealt out one by one, each to the task whose value
               (1 - p^N - (1 - p)^N) p (1 - p)^2 it raises most, p = won / (won + lost) of the counts, N episodes so
               far: the chance of a mixed group, times what an update is expected to raise p by (arXiv 2509.25849).
               What an episode adds falls with N, so that this is the best way to deal them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import Any

import numpy as np

from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from agentbench.train.batch import is_informative
from agentbench.train.config import TrainConfig
from agentbench.train.settings import CHOSEN
from credit.steps import FloatArray
from envs.contract import Task

KEPT = 0.9
SMALLEST, LARGEST = 2, 4
"""Under ``knapsack`` a group has at least so many episodes, and at most so many times ``group_size``."""


class Sampling:
    """Chooses tasks and the sizes of their groups.

    Args:
        config: ``sampling`` names the rule.
        tasks: to choose from.

    Attributes:
        known: the two counts of every task that was played, by its id. They go into the checkpoint.
        chosen: what was chosen since the last call of :meth:`metrics`: episodes by the task's name.
    """

    def __init__(self, config: TrainConfig, tasks: Sequence[Task]) -> None:
        self.config, self.tasks = config, tasks
        self.known: dict[str, list[float]] = {}
        self.chosen: dict[str, int] = {}
        self._mixed = [0, 0]

    @property
    def ranks_tasks(self) -> bool:
        """Whether tasks are chosen by what is known of them, and do not come in turn."""
        return self.config.sampling in ("thompson", "variance")

    def choose(self, count: int, step: int, attempt: int) -> list[Task]:
        """Return the most promising tasks, those that this step has not played before the others.

        Args:
            count: how many; a task comes twice only where there are fewer.
            step: number of the training step, and ``attempt`` of the round of rollouts in it, which the draws follow
                from.
        """
        generator = np.random.default_rng(stable_seed(self.config.seed, "sampling", step, attempt))
        drawn: Any = generator.beta(*self._counts(self.tasks).T)
        worth = drawn * (1 - drawn) if self.config.sampling == "variance" else drawn
        again = np.array([task.name in self.chosen for task in self.tasks])
        order = np.lexsort((-worth, again))
        return [self.tasks[order[place % len(order)]] for place in range(count)]

    def sizes(self, tasks: Sequence[Task]) -> list[int]:
        """Return how many episodes of each task are played."""
        size = self.config.group_size
        if self.config.sampling != "knapsack":
            return [size] * len(tasks)
        won, lost = self._counts(tasks).T
        chance = won / (won + lost)
        sizes = [SMALLEST] * len(tasks)
        gains = [(-gain, place) for place, gain in enumerate(marginal_gain(chance, SMALLEST))]
        heapify(gains)
        for _ in range(len(tasks) * (size - SMALLEST)):
            _, place = gains[0]
            sizes[place] += 1
            is_full = sizes[place] >= LARGEST * size
            gain = 0.0 if is_full else float(marginal_gain(chance[place], sizes[place]))
            heapreplace(gains, (1.0 if is_full else -gain, place))
        return sizes

    def learn(self, groups: Sequence[Sequence[Episode]], draws: Sequence[tuple[Task, int]]) -> None:
        """Take in what was played.

        Args:
            groups: the judged episodes of each task.
            draws: the tasks that were asked for, and how often each.
        """
        if self.config.sampling == "uniform":
            return
        for task, size in draws:
            self.chosen[task.name] = self.chosen.get(task.name, 0) + size
        for group in groups:
            mixed = is_informative(group)
            outcomes = [mixed] if self.config.sampling == "thompson" else [episode.won for episode in group]
            hits, misses = self.known.get(group[0].task_id, [1.0, 1.0])
            self.known[group[0].task_id] = [
                max(1.0, KEPT * hits) + sum(outcomes),
                max(1.0, KEPT * misses) + len(outcomes) - sum(outcomes),
            ]
            self._mixed = [self._mixed[0] + mixed, self._mixed[1] + 1]

    def metrics(self) -> dict[str, Any]:
        """Say what was chosen since this was last asked, and forget it; nothing under ``uniform``."""
        if self.config.sampling == "uniform":
            return {}
        mixed, groups = self._mixed
        found = {
            **{f"{CHOSEN}{name}": count for name, count in self.chosen.items()},
            "sampling/known_tasks": len(self.known),
            "sampling/mixed_share": mixed / max(1, groups),
            "sampling/smallest": min(self.chosen.values(), default=0),
            "sampling/largest": max(self.chosen.values(), default=0),
        }
        self.chosen, self._mixed = {}, [0, 0]
        return found

    def _counts(self, tasks: Sequence[Task]) -> FloatArray:
        return np.array([self.known.get(task.id, [1.0, 1.0]) for task in tasks])


def marginal_gain(chance: Any, episodes: int) -> Any:
    """Return what one episode more adds to the value of a group (see the module).

    Args:
        chance: of winning, in [0, 1]; a number or an array.
        episodes: in the group so far, at least 1.
    """
    lost = 1 - chance
    return (chance**episodes * lost + lost**episodes * chance) * chance * lost**2
