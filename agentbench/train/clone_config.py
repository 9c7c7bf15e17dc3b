"""What a clone is told to do, and what the size of the model and the memory decide where nothing is said."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentbench.evaluation.held_out import clone_notes, overlap_notes, task_ids
from agentbench.runs.episodes import Episode
from agentbench.runs.provenance import stable_seed
from agentbench.runs.run import open_run
from agentbench.train.chosen import measured_precision
from agentbench.train.clone import CloneSettings, Schedule, traces_of
from agentbench.train.config import TrainConfig
from agentbench.train.memory import Asked, fit, is_large, number_of_weights
from agentbench.train.run import make_learner
from envs.base.digest import digest_of_json, read_sealed
from envs.base.errors import UserError
from policies.contract import TrainablePolicy
from policies.language.learner import HasLearner
from policies.registry import options_of
from policies.saved import is_saved

CHECKPOINTS, STATE = "checkpoints", "clone-settings.json"


@dataclass(frozen=True, slots=True)
class CloneRun:
    """What a clone is told to do; None where the size of the model decides.

    Attributes:
        source: folder of the run whose actions are imitated.
        policy, policy_options, lora: who learns, as in training.
        episodes: use only this many episodes, the first ones.
        failures: imitate failed episodes too.
        held_out: share of the episodes' tasks that is kept for a held-out loss.
        passes, batch_size, learning_rate, schedule, warmup, weight_decay, max_grad_norm: see
            :class:`agentbench.train.clone.CloneSettings`.
        token_budget: tokens a pass; None: what fits into ``pass_memory``.
        pass_memory: MB of the activations of a pass.
        gradient_checkpointing: compute activations again in the backward pass; None: only of episodes that would not
            fit otherwise.
        precision: of computing: ``float32``, ``bfloat16``, or ``auto``: whichever is faster here.
        eval_split, eval_tasks, env_options: held-out tasks that are played, the first ones.
        eval_every: updates between measures of the held-out episodes and tasks; None: after each pass.
        eval_temperature: at which they are played.
        checkpoint_every: updates between checkpoints.
        seed, device, threads: as in training; threads None: 1, or measured for large models.
    """

    source: str
    policy: str = "scorer"
    policy_options: dict[str, Any] = field(default_factory=dict)
    lora: int = 0
    episodes: int | None = None
    failures: bool = False
    held_out: float | None = None
    passes: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    schedule: Schedule | None = None
    warmup: int | None = None
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    token_budget: int | None = None
    pass_memory: float | None = None
    gradient_checkpointing: bool | None = None
    precision: str = "auto"
    eval_split: str | None = None
    eval_tasks: int = 60
    eval_every: int | None = None
    eval_temperature: float = 0.0
    env_options: dict[str, Any] = field(default_factory=dict)
    checkpoint_every: int = 10
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen at the start, by the model's size and by measurement.

    Attributes:
        settings: of the updates.
        held_out: share of the tasks.
        recompute_above: tokens scored at once from which on activations are computed again; None: never.
        threads: of torch.
        seconds: that a short pass took in each precision; empty where it was not measured.
        peak_mb: expected peak of the process's memory, or of the device's.
        parts_mb: what it is made of.
    """

    settings: CloneSettings
    held_out: float
    recompute_above: int | None
    threads: int
    seconds: dict[str, float]
    peak_mb: float
    parts_mb: dict[str, float]


@dataclass(slots=True)
class Prepared:
    """All that a clone needs, and nothing learned yet."""

    config: CloneRun
    chosen: Chosen
    env: str
    policy: TrainablePolicy
    learned: list[Episode]
    traces: list[Any]
    held_out: list[Any]
    notes: list[str]

    @property
    def run_digest(self) -> str:
        """Which clone it is: one with other settings or other episodes is another."""
        actions = [[each.task_id, each.trial, [step.action for step in each.steps]] for each in self.learned]
        return digest_of_json({**asdict(self.config), "episodes": digest_of_json(actions)})


def prepare(config: CloneRun, out: Path | None = None) -> Prepared:
    """Load policy and episodes, and choose what the size of the model and the memory decide.

    Args:
        config: what to do.
        out: folder of a clone that continues: what was chosen at its start is taken as it was.

    Raises:
        UserError: there is nothing to clone, the policy cannot be trained, or the memory does not suffice.
    """
    stored = open_run(Path(config.source))
    env = stored.identity.get("env", "alfworld")
    found = [each for each in stored.read_episodes() if each.won or (config.failures and each.outcome == "failure")]
    options = dict(config.policy_options)
    if not is_saved(Path(config.policy)) and "threads" in options_of(config.policy):
        options = {"threads": config.threads, **options}
    base = TrainConfig(
        env=env,
        policy=config.policy,
        policy_options=options,
        lora=config.lora,
        seed=config.seed,
        device=config.device,
        threads=config.threads or 1,
    )
    policy = make_learner(base)
    policy.module.to(config.device)
    earlier = None if out is None else _read_chosen(out, config)
    share = earlier.held_out if earlier else _held_out_share(config, policy)
    learned, kept = _split(found[: config.episodes], share, config.seed)
    traces = traces_of(policy, learned)
    if not traces:
        raise UserError("nothing to clone: the run has no steps whose actions this policy could have chosen")
    chosen = earlier or choose(config, policy, traces, share)
    if isinstance(policy, HasLearner):
        policy.learner.recompute_above(chosen.recompute_above)
    notes = clone_notes(stored.identity.get("split"))
    if config.eval_split is not None:
        notes += _evaluation_notes(config, env, {each.task_id for each in learned})
    return Prepared(config, chosen, env, policy, learned, traces, traces_of(policy, kept), notes)


def choose(config: CloneRun, policy: TrainablePolicy, traces: Sequence[Any], held_out: float) -> Chosen:
    """Choose what the configuration leaves open.

    Raises:
        UserError: the longest episode does not fit into ``pass_memory``, or the whole not into the memory.
    """
    by_size = _large_defaults(config.lora, number_of_weights(policy)) if is_large(policy) else {}
    own = {
        name: getattr(config, name)
        for name in ("passes", "batch_size", "learning_rate", "schedule", "warmup")
        if getattr(config, name) is not None
    }
    settings = CloneSettings(
        **{**by_size, **own},
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        device=config.device,
        seed=config.seed,
    )
    threads = config.threads or (torch.get_num_threads() if isinstance(policy, HasLearner) else 1)
    torch.set_num_threads(threads)
    if not isinstance(policy, HasLearner):
        budget = config.token_budget or settings.token_budget
        settings = replace(settings, token_budget=budget)
        if config.precision != "auto":
            settings = replace(settings, precision=config.precision)
        return Chosen(settings, held_out, None, threads, {}, 0.0, {})
    asked = Asked(config.token_budget, config.pass_memory, config.gradient_checkpointing, config.device)
    fitted = fit(asked, policy, traces)
    precision: str = config.precision
    seconds: dict[str, float] = {}
    if precision == "auto":
        precision, seconds = measured_precision(policy, config.device)
    settings = replace(settings, token_budget=fitted.token_budget, precision=precision)
    return Chosen(settings, held_out, fitted.recompute_above, threads, seconds, fitted.peak_mb, fitted.parts_mb)


def _large_defaults(lora: int, weights: int) -> dict[str, Any]:
    rate = 2e-4 if lora else 1e-4 if weights < 1e9 else 2e-5
    return {"passes": 2, "batch_size": 32, "learning_rate": rate, "schedule": "linear", "warmup": 10}


def _held_out_share(config: CloneRun, policy: TrainablePolicy) -> float:
    if config.held_out is not None:
        return config.held_out
    return 0.05 if is_large(policy) else 0.0


def _split(episodes: list[Episode], share: float, seed: int) -> tuple[list[Episode], list[Episode]]:
    """Part episodes into those to learn from and those held out, by task; at least one task is learned from."""
    tasks = sorted({each.task_id for each in episodes})
    count = min(math.ceil(share * len(tasks)), len(tasks) - 1) if tasks else 0
    order = np.random.default_rng(stable_seed(seed, "held out")).permutation(len(tasks))
    kept = {tasks[place] for place in order[:count]}
    return [each for each in episodes if each.task_id not in kept], [each for each in episodes if each.task_id in kept]


def _evaluation_notes(config: CloneRun, env: str, learned: set[str]) -> list[str]:
    assert config.eval_split is not None
    evaluated = task_ids(env, config.eval_split, config.env_options)[: config.eval_tasks]
    notes = overlap_notes(config.policy, env, evaluated)
    if shared := learned & set(evaluated):
        notes.append(
            f"{len(shared)} of the {len(evaluated)} evaluated tasks (of {config.eval_split}) are learned from: "
            "success on them says nothing of tasks that were never seen"
        )
    return notes


def _read_chosen(out: Path, config: CloneRun) -> Chosen:
    """Return what was chosen at the start of a clone that continues.

    Raises:
        UserError: it was begun with other settings, or the file is damaged.
    """
    path = out / CHECKPOINTS / STATE
    try:
        record = read_sealed(path)
        before, chosen = record["config"], record["chosen"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): remove {path.parent} to begin again") from error
    now = json.loads(json.dumps(asdict(config)))
    if other := [f"{name}: {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]:
        raise UserError(f"{out} holds a clone with other settings ({'; '.join(other)}): use those, or another --out")
    return Chosen(**{**chosen, "settings": CloneSettings(**chosen["settings"])})
