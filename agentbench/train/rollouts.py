"""What is played for a training step: which tasks, in which groups, and by which of several processes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentbench.cluster.launch import launcher
from agentbench.evaluation.held_out import tasks_of_split
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.branch import grow
from agentbench.rollout.contract import Recipe
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.failures import NothingJudgedError, tell_episodes
from agentbench.runs.provenance import stable_seed
from agentbench.runs.steps import groups_by_task
from agentbench.train.batch import is_informative
from agentbench.train.config import TrainConfig
from agentbench.train.distributed import Ranks
from agentbench.train.sampling import Sampling
from agentbench.train.trees import Measured, score_of, tree_options
from envs.base.errors import UserError
from envs.base.log import log
from envs.contract import Task
from envs.registry import find
from policies.contract import Policy

SEATS = 256
"""Most episodes that are played at once where there are no worker processes."""


@dataclass(frozen=True, slots=True)
class TrainingEpisodes:
    """The rollouts of one training step: the groups to learn from, all episodes, judged or not, and what was chosen.

    ``branch_steps`` are the environment steps of what was played beside, to find out where branches should begin.
    """

    groups: list[list[Episode]]
    episodes: list[Episode]
    chosen: dict[str, Any]
    branch_steps: int = 0

    @property
    def steps(self) -> int:
        """Number of environment steps."""
        return sum(len(episode.steps) for episode in self.episodes)

    @property
    def tokens(self) -> int:
        """Number of sampled tokens."""
        return sum(step.trace.tokens for episode in self.episodes for step in episode.steps)


class StoppedError(Exception):
    """Rollouts were no longer wanted."""


class Rollouts:
    """Plays the training's tasks epoch by epoch, each in an order of its own, and the held-out ones.

    Args:
        config: what to play.
        ranks: the processes that play together.

    Attributes:
        tree: shape of the groups; None where each is ``group_size`` episodes.
        measured: measures advantages, where branches begin at the lowest measured one.
        position: how many tasks were drawn in turn so far.
        sampling: how tasks are chosen, with what it knows of them.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.tasks = tasks_of(config, config.split)
        self.tree, self.measured = tree_options(config), Measured(config)
        self.position = 0
        self.sampling = Sampling(config, self.tasks)
        self._launch = launcher(config.executor)
        self._environments: dict[str, Workers] = {}
        self._open = ExitStack()
        self._stopped = threading.Event()
        self._told_equal = False

    def train(self, policy: Policy, step: int) -> TrainingEpisodes:
        """Play groups until the batch of training step ``step`` is full.

        Raises:
            NothingJudgedError: every episode ended in an error.
        """
        config = self.config
        wanted = config.tasks_per_step
        kept: list[list[Episode]] = []
        played: list[Episode] = []
        for attempt in range(1 + config.refills):
            tasks = self._choose(wanted - len(kept), step, attempt)
            sizes = self.sampling.sizes(tasks)
            # Around the end of an epoch a task can come twice: each draw is a group of its own.
            seed = stable_seed(config.seed, "rollouts", step, attempt)
            for number, part in enumerate(_without_repeats(list(zip(tasks, sizes, strict=True)))):
                episodes = self._play_groups(policy, part, stable_seed(seed, number))
                played += episodes
                groups = groups_by_task(episodes)
                self.sampling.learn(groups, part)
                kept += [group for group in groups if is_informative(group) or not config.drop_equal_groups]
            if len(kept) >= wanted or not config.drop_equal_groups:
                break
        if told := tell_episodes(played):
            if not any(is_judged(episode.outcome) for episode in played):
                raise NothingJudgedError(f"no episode of training step {step + 1} could be played: {told}")
            self._warn("training step %d: %s", step + 1, told)
        if not kept and not self._told_equal:
            self._told_equal = True
            self._warn(
                "training step %d: all episodes of each group came out equal, so there is nothing to learn from and no "
                "update; if that continues, choose other tasks, larger groups, or a warm start (agentbench clone)",
                step + 1,
            )
        # Gathered, not summed: with overlap this happens during an update, whose sums go over the same group as sum.
        measured, self.measured.played = sum(self.ranks.gather([self.measured.played])), 0
        return TrainingEpisodes(kept, played, self.sampling.metrics(), measured)

    def evaluate(self, policy: Policy) -> list[Episode]:
        """Play the held-out tasks once each; the same draws every time.

        Where all end in an error there is a warning: what was trained so far is worth more than its measure.
        """
        assert self.config.eval_split is not None
        tasks = tasks_of(self.config, self.config.eval_split)[: self.config.eval_tasks]
        seed = stable_seed(self.config.seed, "evaluate")
        episodes = self._play(policy, self.config.eval_split, [Job(task, 0) for task in tasks], seed)
        if told := tell_episodes(episodes):
            self._warn("held-out tasks: %s", told)
        return episodes

    def stop(self) -> None:
        """Have rollouts that are under way in a thread end with their next episode."""
        self._stopped.set()

    def _warn(self, text: str, *values: object) -> None:
        if self.ranks.rank == 0:
            log.warning(text, *values)

    def close(self) -> None:
        """End the workers."""
        self.measured.close()
        self._open.close()

    def _choose(self, count: int, step: int, attempt: int) -> list[Task]:
        if self.sampling.ranks_tasks:
            return self.sampling.choose(count, step, attempt)
        return [self._next_task() for _ in range(count)]

    def _next_task(self) -> Task:
        epoch, place = divmod(self.position, len(self.tasks))
        order = np.random.default_rng(stable_seed(self.config.seed, "tasks", epoch)).permutation(len(self.tasks))
        self.position += 1
        return self.tasks[int(order[place])]

    def _play_groups(self, policy: Policy, draws: Sequence[tuple[Task, int]], seed: int) -> list[Episode]:
        """Play a group of each task: so many episodes from the start, or what trees and budget make of it."""
        config = self.config
        if self.tree is None:
            jobs = [Job(task, trial) for task, size in draws for trial in range(size)]
            return self._play(policy, config.split, jobs, seed)
        own = self.ranks.shares([task for task, _ in draws])[self.ranks.rank]  # whole trees
        options, score = self._options(seed), score_of(config, policy, seed, self.measured)
        episodes = grow(self._workers(config.split), policy, own, self.tree, options, score, self._go_on)
        return sorted(self.ranks.gather(episodes), key=lambda episode: episode.key)

    def _play(self, policy: Policy, split: str, jobs: Sequence[Job], seed: int) -> list[Episode]:
        """Play this process's share of the jobs and return the episodes of all processes, in order of their keys."""
        own = self.ranks.shares(jobs)[self.ranks.rank]
        episodes: list[Episode] = []

        def collect(finished: list[Episode]) -> None:
            self._go_on()
            episodes.extend(finished)

        play(self._workers(split), policy, own, self._options(seed), collect)
        return sorted(self.ranks.gather(episodes), key=lambda episode: episode.key)

    def _options(self, seed: int) -> PlayOptions:
        config = self.config
        parallel = config.parallel or config.workers or SEATS
        return PlayOptions(workers=config.workers or 1, parallel=parallel, seed=seed, memory_limit=config.memory_limit)

    def _workers(self, split: str) -> Workers:
        config = self.config
        if split not in self._environments:
            recipe = Recipe(find(config.env), {**config.env_options, "split": split})
            workers = Workers(recipe, inline=config.workers == 0, launch=self._launch)
            self._environments[split] = self._open.enter_context(workers)
        return self._environments[split]

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise StoppedError


def tasks_of(config: TrainConfig, split: str) -> list[Task]:
    """Return the tasks of a split.

    Raises:
        UserError: there are none.
    """
    tasks = tasks_of_split(config.env, split, config.env_options)
    if not tasks:
        raise UserError(f"split {split!r} of {config.env!r} has no tasks")
    return tasks


def _without_repeats(draws: Sequence[tuple[Task, int]]) -> list[list[tuple[Task, int]]]:
    """Split a list of tasks and the sizes of their groups into lists in which no task comes twice."""
    parts: list[list[tuple[Task, int]]] = []
    for draw in draws:
        for part in parts:
            if all(draw[0] != task for task, _ in part):
                part.append(draw)
                break
        else:
            parts.append([draw])
    return parts
