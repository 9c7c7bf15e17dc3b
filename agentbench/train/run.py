"""A training run in a folder: claimed, recorded, resumed, with its metrics and its curve."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentbench.evaluation.config import resolved_options
from agentbench.evaluation.held_out import say_notes
from agentbench.rollout.first_prompt import refuse_short_context
from agentbench.runs.episodes import Episode, Step
from agentbench.runs.lines import METRICS_FILE, add_lines, read_metrics
from agentbench.runs.provenance import describe
from agentbench.runs.steps import steps_of
from agentbench.runs.writer import claim
from agentbench.train.batch import HEADS, discount, lookahead, needs, needs_values, value_columns
from agentbench.train.candidates import check_candidates
from agentbench.train.chosen import choose_for_training
from agentbench.train.config import BRANCHED, HOW_NOT_WHAT, TrainConfig
from agentbench.train.curve import draw_curve
from agentbench.train.distributed import Ranks, join
from agentbench.train.memory import refuse_large_model
from agentbench.train.rollouts import SEATS
from agentbench.train.sinks import check_sinks, open_sinks
from agentbench.train.soundness import training_notes
from agentbench.train.subgoals import subgoals
from agentbench.train.teacher import check_teacher
from agentbench.train.trainer import Metrics, Trainer
from agentbench.train.trees import MEASURED
from credit.registry import advantages
from credit.registry import find as find_scheme
from envs.base.devices import check_device
from envs.base.digest import sealed_line
from envs.base.errors import UserError
from envs.base.files import write_text
from envs.registry import make
from policies.contract import (
    CountsPromptTokens,
    HasCritic,
    TakesAdapters,
    TakesCritic,
    Trainable,
    TrainablePolicy,
    is_trainable,
    lacking,
)
from policies.registry import make_learner as new_learner
from policies.saved import POLICY_FOLDER, saved_in

CURVE_FILE = "curve.png"
COLUMNS = ("state", "next_state", "action", "is_valid", "terminated", "truncated", "score", "switch", "subgoal")
"""Columns beyond the required ones that training gives every scheme."""
MADE = ("reference_gap", "teacher_gap", "baseline", "oracle", "choice")
"""Columns that training makes for the schemes that need them."""


def train(
    config: TrainConfig, out: Path, *, resume: bool = False, on_metrics: Callable[[Metrics], None] | None = None
) -> Path:
    """Train as the configuration says, and return the folder of the trained policy.

    Args:
        config: what to do.
        out: folder of the run; ``metrics.jsonl`` in it is the truth, ``curve.png`` its picture.
        resume: continue with the run in ``out``; without it a folder that holds a run is refused.
        on_metrics: called after each training step, in the process that writes.

    Raises:
        UserError: before the first rollout if the scheme cannot be computed or the folder cannot be written;
            later if the loss is no longer a number.
    """
    refuse_unfit_scheme(config)
    check_sinks(config.sinks)
    ranks = join(config.device)  # before the model is loaded: it goes to this process's own GPU
    set_products(config)
    policy = make_learner(config)
    refuse_large_model(policy, config.device)
    if ranks.rank == 0:
        _refuse_short_context(config, policy)
        _train_and_record(config, policy, out, ranks, resume, on_metrics or (lambda _: None))
    else:
        trainer = Trainer(choose_for_training(config, policy, out, ranks), policy, out, ranks)
        trainer.resume()
        trainer.run(lambda _: None)
    return out / POLICY_FOLDER


def _refuse_short_context(config: TrainConfig, policy: TrainablePolicy) -> None:
    if not isinstance(policy, CountsPromptTokens):
        return
    environment = make(config.env, **{**config.env_options, "split": config.split})
    try:
        for task in islice(environment.tasks, 1):  # to list all can be work
            refuse_short_context(policy, environment, task)
    finally:
        environment.close()


def _train_and_record(
    config: TrainConfig,
    policy: TrainablePolicy,
    out: Path,
    ranks: Ranks,
    resume: bool,
    on_metrics: Callable[[Metrics], None],
) -> None:
    if not resume and (out / METRICS_FILE).exists():
        raise UserError(f"{out} holds a training run: add --resume to continue with it, or choose another --out")
    settings = config.model_dump()
    identity = {"kind": "train", **config.deciding()}
    how = {name: settings[name] for name in HOW_NOT_WHAT}
    notes = training_notes(config)
    say_notes(notes)
    lock = claim(
        out,
        identity,
        {
            "kind": "train",
            **how,
            "processes": ranks.count,
            "float32_matmul": torch.get_float32_matmul_precision(),
            "notes": notes,
            **resolved_options(config),
            **describe(),
        },
    )
    try:
        trainer = Trainer(choose_for_training(config, policy, out, ranks), policy, out, ranks)
        trainer.resume()
        cut_metrics(out, trainer.step)
        with open_sinks(config.sinks, settings, out) as send:

            def report(metrics: Metrics) -> None:
                add_lines(out / METRICS_FILE, [metrics])
                send(metrics)
                if "eval/success" in metrics or metrics["step"] == config.steps:
                    draw_curve({config.scheme: [read_metrics(out / METRICS_FILE)]}, out / CURVE_FILE)
                on_metrics(metrics)

            trainer.run(report)
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror or error}; the last checkpoint is whole: "
            "make room and run the same command with --resume"
        ) from error
    finally:
        lock.release()


def set_products(config: TrainConfig) -> None:
    """Set how float32 matrices are multiplied: with TF32 (10 bits of fraction) on a GPU, else in full.

    ``float32_matmul`` of the settings says otherwise.
    """
    on_gpu = torch.device(config.device).type == "cuda"
    torch.set_float32_matmul_precision(config.float32_matmul or ("high" if on_gpu else "highest"))


def refuse_unfit_scheme(config: TrainConfig) -> None:
    """Refuse a scheme whose columns or options cannot be had, before anything is played.

    Raises:
        UserError: it needs a column that training does not make.
        CreditError: the scheme or one of its options does not exist.
    """
    values = ["value"] if config.branches else value_columns(config.scheme) if config.value_coefficient else []
    known = {*COLUMNS, *MADE, *values}
    if config.branches:
        _check_branching(config)
    if config.rollouts == "tree":
        known |= {"node", "parent", "own"}
    if needs(config.scheme, "choice"):
        check_candidates(config)
    check_teacher(config)
    if config.scheme == "progress_advantage" and not config.scheme_options.get("outcome_weight"):
        raise UserError(
            "scheme 'progress_advantage' is 0 everywhere as long as the policy is its own reference, so it would never "
            "begin: set outcome_weight in scheme_options (say 1.0)"
        )
    if missing := [name for name in find_scheme(config.scheme).needs if name not in known]:
        if set(missing) <= {"value", *HEADS} and config.branches:
            raise UserError(f"branching measures one value of a state: scheme {config.scheme!r} needs values = critic")
        if set(missing) <= {"value", *HEADS}:
            raise UserError(
                f"scheme {config.scheme!r} needs values of states: set value_coefficient (say 0.5) for a critic, "
                "or values = branching"
            )
        if missing[0] in ("node", "own"):
            raise UserError(
                f"scheme {config.scheme!r} compares episodes that share beginnings, and these are played each from the "
                "start: set rollouts = tree"
            )
        raise UserError(
            f"scheme {config.scheme!r} needs the column {missing[0]!r}, which training does not make: "
            "choose another scheme"
        )
    by_scheme = config.fork_choice == "pivot" and config.pivot_by != MEASURED
    if by_scheme and (lacks := set(find_scheme(config.pivot_by).needs) - known):
        raise UserError(f"pivot_by = {config.pivot_by} needs the column {min(lacks)!r}, which rollouts do not make")
    step = Step("", "", None, "", 0.0, True, False, True, 0.0)
    tiny = [[Episode("", "", "", "", trial, "failure", False, 0.0, [step]) for trial in range(2)]]
    columns: dict[str, Any] = {name: np.zeros(2, dtype=np.int64 if name == "choice" else np.float64) for name in MADE}
    columns |= {**dict.fromkeys(value_columns(config.scheme), np.zeros(2)), **subgoals(tiny)}
    table = steps_of(tiny, columns=columns, tree=config.rollouts == "tree")
    advantages(config.scheme, table, **config.scheme_options)


def _check_branching(config: TrainConfig) -> None:
    if not needs_values(config.scheme):
        raise UserError(f"scheme {config.scheme!r} reads no values: leave values = critic, or choose gae")
    if config.branch_every > 1 and discount(config) == 0:
        raise UserError("with gamma = 0 every state has to be measured: set branch_every = 1")
    if config.branch_every > 1 and lookahead(config) < 1:
        raise UserError(
            "with lam below 1 a step is credited with the change of the value, so every state has to be measured: set "
            + ("branch_every = 1" if config.scheme in BRANCHED else "branch_every = 1, or lam = 1 in scheme_options")
        )


def make_learner(config: TrainConfig) -> TrainablePolicy:
    """Make the policy that a configuration names: a new one, or a saved one to continue from.

    Raises:
        UserError: it cannot be trained.
    """
    check_device(config.device)
    common = config.model_dump(include={"seed", "temperature", "device", "threads", "lora"})
    policy = new_learner(config.policy, environment=config.env, common=common, options=config.policy_options)
    if not is_trainable(policy):
        raise UserError(
            f"policy {config.policy!r} cannot be trained: give 'scorer', hf:MODEL or the folder of a saved policy; one "
            f"of your own needs also {', '.join(lacking(policy, Trainable))} (policies.contract.Trainable)"
        )
    learner = _with_adapters(policy, config) if config.lora else policy
    if config.value_coefficient:
        learner = _with_critic(learner, config)
    return learner.with_temperature(config.temperature)


def _with_critic(policy: TrainablePolicy, config: TrainConfig) -> TrainablePolicy:
    """Return the policy with a critic that estimates what the scheme reads."""
    values = len(value_columns(config.scheme))
    if isinstance(policy, TakesCritic):
        return policy.with_critic(values)
    if not policy.has_critic:
        raise UserError(f"policy {config.policy!r} has no critic: set value_coefficient = 0 and choose another scheme")
    if values > 1:
        raise UserError(
            f"scheme {config.scheme!r} needs {values} values a step, and the critic of {config.policy!r} estimates "
            "one: train a language model (hf:MODEL)"
        )
    if config.value_warmup and not isinstance(policy, HasCritic):
        raise UserError(f"policy {config.policy!r} does not say which weights are its critic's: set value_warmup = 0")
    return policy


def _with_adapters(policy: TrainablePolicy, config: TrainConfig) -> TrainablePolicy:
    """Return the policy with adapters to train: those that it has, or new ones."""
    if not isinstance(policy, TakesAdapters):
        raise UserError(f"lora = {config.lora} is for language models; policy {config.policy!r} is none")
    if policy.adapters:
        return policy
    return policy.with_adapters(config.lora, saved_in(Path(config.policy)))


def cut_metrics(out: Path, step: int) -> None:
    """Forget the metrics of training steps after the one that a run continues from: they are made again."""
    rows = read_metrics(out / METRICS_FILE)
    kept = [row for row in rows if row["step"] <= step] if step else []
    if rows != kept:
        write_text(out / METRICS_FILE, "".join(map(sealed_line, kept)))


def estimate(config: TrainConfig) -> dict[str, float]:
    """Play and learn one small batch, and say what the whole run will take by that measure.

    Returns:
        ``seconds`` and ``environment_steps`` of the whole run (the episodes may get shorter as it learns), and
        ``memory_mb`` now.
    """
    refuse_unfit_scheme(config)
    tasks = min(2, config.tasks_per_step)
    small = config.model_copy(update={"tasks_per_step": tasks, "eval_split": None})
    with tempfile.TemporaryDirectory() as folder:
        policy = make_learner(config)
        trainer = Trainer(choose_for_training(small, policy), policy, Path(folder))
        try:
            metrics = trainer.train_step()
        finally:
            trainer.close()
    factor = config.tasks_per_step / tasks * config.steps
    seconds = metrics["seconds"] * factor
    if config.device != "cpu":
        # A GPU answers a few more prompts in the same time: what grows is the number of its turns, in batches of SEATS.
        rows = config.rollouts_of_task * np.array([tasks, config.tasks_per_step])
        turns = np.ceil(rows / (config.parallel or config.workers or SEATS))
        rollout = metrics["seconds/rollout"]
        seconds = (metrics["seconds"] - rollout) * factor + rollout * float(turns[1] / turns[0]) * config.steps
    return {
        "seconds": round(seconds, 1),
        "environment_steps": round(metrics.get("environment_steps", 0) * factor),
        "memory_mb": metrics["memory_mb"],
    }
