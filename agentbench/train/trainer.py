"""The training loop: tasks → groups of rollouts → advantages → updates → evaluation, checkpoint, telemetry.

The loop is blind to the credit scheme: it hands over a step table and gets one number a step. Everything random
derives from the seed and the number of the training step, so a resumed run ends with the same weights.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentbench.evaluation.held_out import say_notes
from agentbench.runs.episodes import Episode, to_line
from agentbench.runs.steps import steps_of
from agentbench.train.batch import Batch, make_batch, needs, needs_values, value_columns
from agentbench.train.branching import Branching
from agentbench.train.candidates import Candidates
from agentbench.train.checkpoint import load_checkpoint, save_checkpoint
from agentbench.train.config import TrainConfig
from agentbench.train.correction import BatchCorrection
from agentbench.train.distributed import ALONE, Ranks, full_weights, same_start, split_weights
from agentbench.train.expected import Expected
from agentbench.train.gap import correct_batch
from agentbench.train.optimizer import make_optimizer
from agentbench.train.outcomes import save_outcomes
from agentbench.train.rollouts import Rollouts, TrainingEpisodes
from agentbench.train.sampler import Sampler
from agentbench.train.soundness import bonus_notes
from agentbench.train.stored import store_rollouts
from agentbench.train.subgoals import needs_subgoals, subgoals
from agentbench.train.teacher import COLUMN as TEACHER_GAP
from agentbench.train.teacher import Teacher
from agentbench.train.telemetry import Clock, advantage_metrics, episode_metrics
from agentbench.train.trees import tree_metrics
from agentbench.train.update import NonFiniteError, pieces, update
from credit.steps import FloatArray
from envs.base.digest import digest_of_json
from envs.base.errors import UserError
from envs.base.files import replaced_folder
from policies.contract import HasCritic, MakesReference, MeasuresSampling, TakesCritic, TrainablePolicy
from policies.saved import POLICY_FOLDER
from policies.trainable import save_policy

Metrics = dict[str, Any]

VALUE_RATE = 1e-3
"""Learning rate of a critic that was put on a policy: a new layer learns faster than what was trained before."""


class Trainer:
    """One training run in one folder.

    With ``overlap`` the rollouts of the next training step are played in a thread, by a copy of the policy from before
    this step's update: one step off-policy, which the loss's importance ratios correct for, as they are those to the
    weights that sampled. Nothing is played ahead of a checkpoint or an evaluation, so a checkpoint holds no rollouts
    and a resumed run plays the same ones.

    Args:
        config: what to do.
        policy: who learns; changed in place.
        folder: where checkpoints and the final policy go.
        ranks: the processes that train together; number 0 alone writes.
    """

    def __init__(self, config: TrainConfig, policy: TrainablePolicy, folder: Path, ranks: Ranks = ALONE) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.policy, self.folder, self.ranks = config, policy, folder, ranks
        self.rollouts = Rollouts(config, ranks.apart() if config.overlap else ranks)
        self.branching = Branching(config, ranks) if config.branches else None
        self.candidates = Candidates(config, ranks) if needs(config.scheme, "choice") else None
        self.expected = Expected(config) if needs(config.scheme, "baseline") else None
        self.teacher = Teacher(config, policy) if needs(config.scheme, TEACHER_GAP) else None
        self.module = policy.module.to(config.device)
        same_start(self.module, ranks)
        has_reference = config.kl_coefficient or needs(config.scheme, "reference_gap")
        self.reference = _reference(policy) if has_reference else None
        self.sampler = Sampler(config, policy, folder, ranks)
        if config.shard:
            split_weights(self.module, config.device, ranks)
        critic = policy.critic if isinstance(policy, HasCritic) else None
        rate = config.value_learning_rate or (VALUE_RATE if isinstance(policy, TakesCritic) else None)
        self.optimizer = make_optimizer(self.module, config.learning_rate, config.weight_decay, critic, rate)
        self.step, self.best = 0, -1.0
        self.run_digest = digest_of_json(config.deciding())
        self._thread = ThreadPoolExecutor(1)
        self._ahead: Future[TrainingEpisodes] | None = None
        self._saving_seconds = 0.0

    # -- the loop ------------------------------------------------------------------------------------

    def run(self, on_metrics: Callable[[Metrics], None]) -> None:
        """Train to the end, from where :meth:`resume` has gone back to.

        ``on_metrics`` gets one dictionary a training step (and one for the start, if it is evaluated).
        """
        try:
            if self.step == 0 and self.config.eval_split:
                on_metrics({"step": 0, **self.evaluate()})
            while self.step < self.config.steps:
                on_metrics(self.train_step())
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
            self._save_policy(POLICY_FOLDER)
        finally:
            self.close()

    def close(self) -> None:
        """End all that runs beside: rollouts under way, workers, the sampling engine."""
        self.rollouts.stop()
        self._thread.shutdown()
        self.rollouts.close()
        self.sampler.close()
        for measuring in (self.branching, self.candidates):
            if measuring is not None:
                measuring.close()

    def train_step(self) -> Metrics:
        """Play one batch of groups, learn from it, and say what happened."""
        clock = Clock(self.config.device)
        with clock.phase("rollout"):
            played, staleness = self._next_rollouts()
        metrics: Metrics = {"step": self.step + 1, **episode_metrics(played.episodes), "staleness": staleness}
        metrics |= played.chosen
        if self.config.rollouts == "tree":
            metrics |= tree_metrics(played.episodes)
        if played.branch_steps:
            metrics["branch_steps"] = played.branch_steps
        metrics |= self.sampler.metrics
        if isinstance(self.sampler.actor, MeasuresSampling):
            metrics |= self.sampler.actor.sampling_metrics()
        every = self.config.store_every
        if every and (self.step + 1) % every == 0 and self.ranks.rank == 0:
            with clock.phase("store"):
                store_rollouts(self.folder, self.config, self.step + 1, played.episodes)
        if played.groups:
            metrics |= self._learn(played.groups, clock)
        self.step += 1
        if self._is_evaluated(self.step):
            with clock.phase("evaluate"):
                metrics |= self.evaluate()
        return metrics | clock.metrics(played.steps, played.tokens) | {"seconds/checkpoint": self._saving_seconds}

    def evaluate(self) -> Metrics:
        """Play the held-out tasks once each, the same draws every time; keep the best policy in ``best/``."""
        self.sampler.refresh(self.module)
        episodes = self.rollouts.evaluate(self.sampler.actor.with_temperature(self.config.eval_temperature))
        if self.ranks.rank == 0:
            save_outcomes(self.folder, self.step, episodes)
        found = episode_metrics(episodes)
        if found.get("success", -1.0) > self.best:
            self.best = found["success"]
            self._save_policy("best")
        return {f"eval/{name}": value for name, value in found.items()} | {"eval/best": self.best}

    # -- parts of a step -----------------------------------------------------------------------------

    def _next_rollouts(self) -> tuple[TrainingEpisodes, int]:
        """Return this step's rollouts and how many updates old their weights are; start the next step's if allowed."""
        staleness = 0 if self._ahead is None else 1
        if self._ahead is None:
            self.sampler.refresh(self.module)
            played = self.rollouts.train(self.sampler.actor, self.step)
        else:
            played, self._ahead = self._ahead.result(), None
        after = self.step + 1
        is_boundary = after % self.config.checkpoint_every == 0 or after == self.config.steps
        if self.config.overlap and not is_boundary and not self._is_evaluated(after):
            self.sampler.refresh(self.module)
            self._ahead = self._thread.submit(self.rollouts.train, self.sampler.actor, after)
        return played, staleness

    def _is_evaluated(self, step: int) -> bool:
        return bool(self.config.eval_split) and (step % self.config.eval_every == 0 or step == self.config.steps)

    # -- learning ------------------------------------------------------------------------------------

    def _learn(self, groups: Sequence[Sequence[Episode]], clock: Clock) -> Metrics:
        """Compute the advantages of groups of episodes and update the policy."""
        config = self.config
        reference = self.reference if config.kl_coefficient and config.kl_in == "loss" else None
        try:
            values, branched = self._values(groups, clock)
            groups, columns = self._columns(groups, clock)
            with clock.phase("table"):
                penalty = config.invalid_action_penalty
                if needs_subgoals(config.scheme):
                    columns |= subgoals(groups)
                is_tree, further = config.rollouts == "tree", {**columns, **values}
                table = steps_of(groups, penalty=penalty, kl=self._kl(groups), columns=further, tree=is_tree)
            with clock.phase("advantage"):
                batch = make_batch(groups, table, config)
            if self.step == 0 and self.ranks.rank == 0:
                say_notes(bonus_notes(config, batch.advantages))
            with clock.phase("update"):
                correction = self._correction(batch)
                self.sampler.outdate()
                found = update(self.policy, self.optimizer, batch, config, self.step, reference, self.ranks, correction)
        except NonFiniteError as error:
            path = self.folder / "failed-batch.jsonl"
            if self.ranks.rank == 0:
                path.write_text("".join(to_line(episode) for group in groups for episode in group), encoding="utf-8")
            raise UserError(
                f"{error}: training stopped; the batch is in {path}, the last checkpoint is untouched. "
                "Try a lower learning_rate or max_grad_norm, or precision = 'float32'"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory on {config.device}: lower token_budget ({config.token_budget}); "
                "the gradient stays the same"
            ) from error
        return advantage_metrics(config.scheme, batch) | branched | found

    def _correction(self, batch: Batch) -> BatchCorrection | None:
        settings = self.config.correction_settings()
        return None if settings is None else correct_batch(self.policy, batch, self.config, settings, self.ranks)

    def _values(self, groups: Sequence[Sequence[Episode]], clock: Clock) -> tuple[dict[str, FloatArray], Metrics]:
        """Return the values of every state that the scheme reads, as columns, and what measuring them took."""
        if not needs_values(self.config.scheme):
            return {}, {}
        if self.branching is None:
            with clock.phase("values"):
                found = self._measure(groups, self._critic).reshape(-1, len(names := value_columns(self.config.scheme)))
            return dict(zip(names, found.T, strict=True)), {}
        with clock.phase("branching"):
            values, steps = self.branching.values(self.sampler.actor, groups, self.step)
        return {"value": values}, {"branch_steps": steps}

    def _columns(
        self, groups: Sequence[Sequence[Episode]], clock: Clock
    ) -> tuple[Sequence[Sequence[Episode]], dict[str, Any]]:
        """Return the groups with all that is learned from, and the further columns that the scheme needs."""
        columns: dict[str, Any] = {}
        if self.candidates is not None:
            with clock.phase("candidates"):
                groups, columns = self.candidates.add(self.sampler.actor, groups, self.step)
        if self.expected is not None:
            columns["baseline"] = self.expected.before(groups)
        if needs(self.config.scheme, "reference_gap"):
            with clock.phase("reference"):
                columns["reference_gap"] = self._measure(groups, self._reference_gap)
        if self.teacher is not None:
            with clock.phase("teacher"):
                gap, traces = functools.partial(self.teacher.gap, self.policy), self.teacher.traces(groups)
                columns[TEACHER_GAP] = self._measure_traces(traces, gap)
        return groups, columns

    def _reference_gap(self, traces: list[Any]) -> torch.Tensor:
        """Log-probability of each answer when it was sampled, less that under the reference, shape (steps,)."""
        assert self.reference is not None
        ours, theirs = self.policy.sampled(traces), self.reference.likelihood(traces)
        return ((ours.log_probs - theirs.log_probs) * ours.mask).sum(1)

    def _critic(self, traces: list[Any]) -> torch.Tensor:
        values = self.policy.likelihood(traces).values
        assert values is not None, "make_learner() takes no policy without a critic for a scheme that reads its values"
        return values

    def _kl(self, groups: Sequence[Sequence[Episode]]) -> FloatArray | None:
        config = self.config
        if not config.kl_coefficient or config.kl_in == "loss":
            return None
        return config.kl_coefficient * self._measure(groups, self._reference_gap)

    def _measure(self, groups: Sequence[Sequence[Episode]], of: Callable[[list[Any]], torch.Tensor]) -> FloatArray:
        """Measure something of every step, a token budget at a time. float64, of as many rows as there are steps."""
        return self._measure_traces([step.trace for group in groups for episode in group for step in episode.steps], of)

    def _measure_traces(self, traces: list[Any], of: Callable[[list[Any]], torch.Tensor]) -> FloatArray:
        tokens = np.array([trace.tokens for trace in traces], dtype=np.int64)
        with torch.no_grad():
            cut = pieces(np.arange(len(traces)), tokens, self.config.token_budget)
            found = torch.cat([of([traces[row] for row in rows]) for rows in cut])
        return found.double().cpu().numpy()

    # -- checkpoints ---------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        started = time.perf_counter()
        counters = {"step": self.step, "position": self.rollouts.position, "best": self.best, "run": self.run_digest}
        if self.expected is not None:
            counters["expected"] = self.expected.known
        if self.config.sampling != "uniform":
            counters["sampling"] = self.rollouts.sampling.known
        folder, keep = self.folder / "checkpoints", self.config.keep_checkpoints
        save_checkpoint(folder, self.policy, self.optimizer, counters, keep, writes=self.ranks.rank == 0)
        self._saving_seconds = round(time.perf_counter() - started, 5)

    def resume(self) -> None:
        """Go back to the newest whole checkpoint, if there is one.

        Raises:
            UserError: the processes do not see the same files.
        """
        counters = load_checkpoint(self.folder / "checkpoints", self.policy, self.optimizer, self.run_digest)
        if counters is not None:
            self.step, self.rollouts.position, self.best = (counters[name] for name in ("step", "position", "best"))
            if self.expected is not None:
                self.expected.known = counters.get("expected", {})
            self.rollouts.sampling.known = counters.get("sampling", {})
        if len(set(self.ranks.gather([self.step]))) > 1:
            raise UserError(f"the processes see different checkpoints: {self.folder} must be the same disk for all")

    def _save_policy(self, name: str) -> None:
        weights = full_weights(self.module)
        if self.ranks.rank == 0:
            # A folder of its own first: weights and description are of one moment whenever this is killed.
            with replaced_folder(self.folder / name) as temporary:
                save_policy(self.policy, temporary, weights)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _reference(policy: TrainablePolicy) -> TrainablePolicy:
    """Return the policy as it is now; one with adapters can be that without a second model."""
    return policy.reference() if isinstance(policy, MakesReference) else _frozen_copy(policy)


def _frozen_copy(policy: TrainablePolicy) -> TrainablePolicy:
    frozen = copy.deepcopy(policy)
    frozen.module.requires_grad_(False)
    return frozen
