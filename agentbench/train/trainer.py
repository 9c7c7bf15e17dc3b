"""The training loop: tasks → groups of rollouts → advantages → updates → evaluation, checkpoint, telemetry.

The loop is blind to the credit scheme: it hands over a step table and gets one number a step. Everything random
derives from the seed and the number of the training step, so a resumed run ends with the same weights.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentbench.episodes import Episode, to_line
from agentbench.provenance import stable_seed
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.pool import Recipe, Workers
from agentbench.train.batch import Batch, group_by_task, is_informative, make_batch, needs_values, step_table
from agentbench.train.checkpoint import load_checkpoint, save_checkpoint
from agentbench.train.config import TrainConfig
from agentbench.train.telemetry import Clock, advantage_metrics, episode_metrics
from agentbench.train.update import NonFiniteError, update
from envs.contract import Task
from envs.errors import UserError
from envs.registry import find, make
from policies.trainable import TrainablePolicy, save_policy

log = logging.getLogger("agentbench")

Metrics = dict[str, Any]


class Trainer:
    """One training run in one folder.

    Args:
        config: what to do.
        policy: who learns; changed in place.
        folder: where checkpoints and the final policy go.
    """

    def __init__(self, config: TrainConfig, policy: TrainablePolicy, folder: Path) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.policy, self.folder = config, policy, folder
        self.module = policy.module.to(config.device)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.reference = _frozen_copy(policy) if config.kl_coefficient else None
        self.tasks = _tasks(config.env, config.split, config.env_options)
        self.step, self.position = 0, 0
        self._environments: dict[str, Workers] = {}

    # -- the loop ------------------------------------------------------------------------------------

    def run(self, on_metrics: Callable[[Metrics], None]) -> None:
        """Train to the end, from the newest checkpoint if there is one.

        ``on_metrics`` gets one dictionary a training step (and one for the start, if it is evaluated).
        """
        self.resume()
        try:
            if self.step == 0 and self.config.eval_split:
                on_metrics({"step": 0, **self.evaluate()})
            while self.step < self.config.steps:
                on_metrics(self.train_step())
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
            save_policy(self.policy, self.folder / "policy")
        finally:
            for workers in self._environments.values():
                workers.__exit__()

    def train_step(self) -> Metrics:
        """Play one batch of groups, learn from it, and say what happened."""
        clock = Clock()
        with clock.phase("rollout"):
            groups, played = self._rollouts()
        metrics: Metrics = {"step": self.step + 1, **episode_metrics(played)}
        if groups:
            with clock.phase("table"):
                penalty = self.config.invalid_action_penalty
                table = step_table(groups, penalty, self._values(groups), self._kl(groups))
            with clock.phase("advantage"):
                batch = make_batch(groups, table, self.config)
            metrics |= advantage_metrics(self.config.scheme, batch)
            with clock.phase("update"):
                metrics |= self._update(batch, groups)
        self.step += 1
        if self.config.eval_split and (self.step % self.config.eval_every == 0 or self.step == self.config.steps):
            with clock.phase("evaluate"):
                metrics |= self.evaluate()
        return metrics | clock.metrics(sum(len(episode.steps) for episode in played))

    def evaluate(self) -> Metrics:
        """Play the held-out tasks once each; the same draws every time."""
        assert self.config.eval_split is not None
        tasks = _tasks(self.config.env, self.config.eval_split, self.config.env_options)[: self.config.eval_tasks]
        policy = copy.copy(self.policy)
        policy.temperature = self.config.eval_temperature  # type: ignore[attr-defined]
        seed = stable_seed(self.config.seed, "evaluate")
        episodes = self._play(policy, self.config.eval_split, [Job(task, 0) for task in tasks], seed)
        return {f"eval/{name}": value for name, value in episode_metrics(episodes).items()}

    # -- parts of a step -----------------------------------------------------------------------------

    def _rollouts(self) -> tuple[list[list[Episode]], list[Episode]]:
        """Play groups until the batch is full; return those to learn from, and all that was played."""
        config = self.config
        wanted = config.tasks_per_step
        kept: list[list[Episode]] = []
        played: list[Episode] = []
        for attempt in range(1 + config.refills):
            tasks = [self._next_task() for _ in range(wanted - len(kept))]
            # Around the end of an epoch a task can come twice: each draw is a group of its own.
            seed = stable_seed(config.seed, "rollouts", self.step, attempt)
            for number, part in enumerate(_without_repeats(tasks)):
                jobs = [Job(task, trial) for task in part for trial in range(config.group_size)]
                episodes = self._play(self.policy, config.split, jobs, stable_seed(seed, number))
                played += episodes
                groups = group_by_task(episodes)
                kept += [group for group in groups if is_informative(group) or not config.drop_equal_groups]
            if len(kept) >= wanted or not config.drop_equal_groups:
                break
        return kept, played

    def _next_task(self) -> Task:
        """Return the next task: every epoch goes through all of them in an order of its own."""
        epoch, place = divmod(self.position, len(self.tasks))
        order = np.random.default_rng(stable_seed(self.config.seed, "tasks", epoch)).permutation(len(self.tasks))
        self.position += 1
        return self.tasks[int(order[place])]

    def _play(self, policy: TrainablePolicy, split: str, jobs: Sequence[Job], seed: int) -> list[Episode]:
        config = self.config
        if split not in self._environments:
            recipe = Recipe(find(config.env), {**config.env_options, "split": split})
            self._environments[split] = Workers(recipe, inline=config.workers == 0)
        options = PlayOptions(workers=config.workers or min(len(jobs), 256), seed=seed)
        episodes: list[Episode] = []
        play(self._environments[split], policy, jobs, options, episodes.append)
        return episodes

    def _values(self, groups: Sequence[Sequence[Episode]]) -> Any:
        if not needs_values(self.config.scheme):
            return None
        with torch.no_grad():
            values = self.policy.likelihood(_traces(groups)).values
        return values.double().cpu().numpy()

    def _kl(self, groups: Sequence[Sequence[Episode]]) -> Any:
        if self.reference is None or self.config.kl_in == "loss":
            return None
        traces = _traces(groups)
        with torch.no_grad():
            ours, theirs = self.policy.sampled(traces), self.reference.likelihood(traces)
            difference = ((ours.log_probs - theirs.log_probs) * ours.mask).sum(1)
        return self.config.kl_coefficient * difference.double().cpu().numpy()

    def _update(self, batch: Batch, groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
        reference = self.reference if self.config.kl_in == "loss" else None
        try:
            return update(self.policy, self.optimizer, batch, self.config, self.step, reference)
        except NonFiniteError as error:
            path = self.folder / "failed-batch.jsonl"
            path.write_text("".join(to_line(episode) for group in groups for episode in group), encoding="utf-8")
            raise UserError(
                f"{error}: training stopped; the batch is in {path}, the last checkpoint is untouched. "
                "Try a lower learning_rate or max_grad_norm, or precision = 'float32'"
            ) from error
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"out of memory on {self.config.device}: lower token_budget ({self.config.token_budget}); "
                "the gradient stays the same"
            ) from error

    # -- checkpoints ---------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        counters = {"step": self.step, "position": self.position}
        folder = self.folder / "checkpoints"
        save_checkpoint(folder, self.policy, self.optimizer, counters, self.config.keep_checkpoints)

    def resume(self) -> None:
        """Go back to the newest whole checkpoint, if there is one."""
        counters = load_checkpoint(self.folder / "checkpoints", self.policy, self.optimizer)
        if counters is not None:
            self.step, self.position = counters["step"], counters["position"]


def _tasks(env: str, split: str, options: dict[str, Any]) -> list[Task]:
    environment = make(env, **{**options, "split": split})
    tasks = list(environment.tasks)
    environment.close()
    if not tasks:
        raise UserError(f"split {split!r} of {env!r} has no tasks")
    return tasks


def _without_repeats(tasks: Sequence[Task]) -> list[list[Task]]:
    """Split a list into lists in which no task comes twice."""
    parts: list[list[Task]] = []
    for task in tasks:
        for part in parts:
            if task not in part:
                part.append(task)
                break
        else:
            parts.append([task])
    return parts


def _traces(groups: Sequence[Sequence[Episode]]) -> list[Any]:
    return [step.trace for group in groups for episode in group for step in episode.steps]


def _frozen_copy(policy: TrainablePolicy) -> TrainablePolicy:
    frozen = copy.deepcopy(policy)
    frozen.module.requires_grad_(False)
    return frozen


def read_metrics(path: Path) -> list[Metrics]:
    """Read ``metrics.jsonl``, without a torn last line."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            log.warning("%s: a torn line is passed over", path)
    return rows


def elapsed(rows: Sequence[Metrics]) -> float:
    """Return the seconds that a run's steps took, all sessions together."""
    return float(sum(row.get("seconds", 0.0) for row in rows))
