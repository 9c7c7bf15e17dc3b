"""Evaluate a policy: play every task, store what finishes, resume what was cut short, summarise."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentbench.cluster.launch import launcher, processors
from agentbench.evaluation.config import EvaluateConfig, check_config, resolved_options
from agentbench.evaluation.held_out import overlap_notes, say_notes
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.contract import Recipe
from agentbench.rollout.first_prompt import refuse_short_context
from agentbench.rollout.jobs import shape_of
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import MAX_TEXT, Episode, is_judged
from agentbench.runs.failures import tell
from agentbench.runs.provenance import describe
from agentbench.runs.run import RUN_FILE, Run, open_run
from agentbench.runs.writer import RunWriter
from envs.base.digest import digest_of_json
from envs.base.errors import UserError
from envs.base.log import log
from envs.contract import Task, TextEnv
from envs.registry import find, make
from policies import Policy, make_policy
from policies.contract import CountsUsage, HasRecord
from policies.registry import entry_of, place_of

if TYPE_CHECKING:
    import pandas as pd

    from agentbench.evaluation.summary import Summary

FIRST_ERRORS = 10
"""A run whose first episodes all end in an error says so after this many."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation gave.

    Attributes:
        run: the stored run, with every step.
        notes: what a reader of the number must know (a part of the data set is missing, say).
    """

    run: Run
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """One row an episode."""
        return self.run.episodes

    @property
    def summary(self) -> Summary:
        """Rates with intervals, overall and by task type."""
        from agentbench.evaluation.scenarios import summarise_run

        return summarise_run(self.run)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is: handed to ``on_progress`` after every episode."""

    finished: int
    total: int
    successes: int
    errors: int

    @property
    def note(self) -> str:
        """What a line of progress says beside the count."""
        return f"{self.successes} won" + (f", {self.errors} errors" if self.errors else "")


def evaluate(
    env: str = "alfworld",
    policy: str | Policy = "random",
    *,
    split: str | None = None,
    out: str | Path | None = None,
    retry_errors: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Result:
    """Play ``policy`` on the tasks of ``env`` and store the run.

    Calling it again with the same arguments after it was cut short continues where it stopped, and gives the same
    tables as an uninterrupted run.

    Args:
        env: name of an environment (``agentbench envs`` lists them).
        policy: name of a policy, or any object with ``name``, ``digest`` and ``act``.
        split: set of tasks; None for the environment's default.
        out: folder of the run; None for ``results/<env>-<split>-<policy>``.
        retry_errors: play the episodes again that ended in an error of the infrastructure.
        on_progress: called after every finished episode.
        **settings: the other fields of :class:`agentbench.evaluation.config.EvaluateConfig`.

    Raises:
        UserError: a setting, the data, the folder or the policy is wrong; finished episodes are kept.
    """
    name = policy if isinstance(policy, str) else policy.name
    config = check_config(env=env, policy=name, split=split, **settings)
    recipe = Recipe(find(config.env), environment_options(config))
    launch = launcher(config.executor)
    with Workers(recipe, inline=config.inline, start_timeout=config.start_timeout, launch=launch) as workers:
        if out is None or not (Path(out) / RUN_FILE).exists():  # else there may be nothing left to play
            workers.prepare()  # while this process reads the tasks and makes the policy
        return _evaluate(workers, config, policy, out, retry_errors, on_progress)


def _evaluate(
    workers: Workers,
    config: EvaluateConfig,
    policy: str | Policy,
    out: str | Path | None,
    retry_errors: bool,
    on_progress: Callable[[Progress], None] | None,
) -> Result:
    environment = make_environment(config)
    actor = _make_actor(policy, config)
    tasks = choose_tasks(environment, config)
    refuse_short_context(actor, environment, tasks[0])
    folder = Path(out) if out is not None else default_folder(config, environment)
    identity = run_identity(config, environment, actor, tasks)
    learned = overlap_notes(policy, config.env, [task.id for task in tasks]) if isinstance(policy, str) else []
    say_notes(learned)
    notes = [*environment.notes, *environment.notes_on(tasks), *learned]
    parallel, processes = shape_of(
        _parallel(policy, config), config.workers, environment.per_process, processors(config.executor)
    )
    record = {
        "kind": "evaluate",
        "config": {**config.model_dump(), "parallel": parallel, "workers": processes},
        **resolved_options(config),
        "policy_record": actor.record if isinstance(actor, HasRecord) else {},
        "notes": notes,
        "protected": environment.protected,
        **describe(),
    }
    limits = config.model_dump(include=set(PlayOptions.__dataclass_fields__) - {"parallel", "workers"})
    options = PlayOptions(parallel=parallel, workers=processes, **limits)
    jobs = [Job(task, trial) for trial in range(config.trials) for task in tasks]
    with RunWriter(folder, identity, record, retry_errors=retry_errors) as writer:
        _play_missing(writer, jobs, actor, workers, options, on_progress)
        writer.close_tables()
    return Result(open_run(folder), tuple(notes))


def _make_actor(policy: str | Policy, config: EvaluateConfig) -> Policy:
    if isinstance(policy, str):
        if config.executor != "local" and place_of(policy) == "engine":
            from agentbench.cluster.engine import RayVllmPolicy

            return RayVllmPolicy(policy, config.env, config.policy_options)
        return make_policy(policy, environment=config.env, options=config.policy_options)
    if config.policy_options:
        raise UserError("policy_options are for a policy by name: make this one with its options")
    return policy


def _parallel(policy: str | Policy, config: EvaluateConfig) -> int | None:
    """Return how many episodes play at once, if the configuration says so, or the policy where it says nothing."""
    entry = entry_of(policy) if isinstance(policy, str) else None
    if config.parallel or entry is None or entry.parallel is None:
        return config.parallel
    return max(entry.parallel, config.workers or 1)


def _play_missing(
    writer: RunWriter,
    jobs: Sequence[Job],
    policy: Policy,
    workers: Workers,
    options: PlayOptions,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    missing = [job for job in jobs if (job.task.id, job.trial) not in writer.finished]
    if writer.finished:
        log.info("resuming: %d of %d episodes are finished", len(jobs) - len(missing), len(jobs))

    outcomes = Counter(writer.finished.values())
    warn = _warning_of_errors()

    def report() -> None:
        if on_progress:
            on_progress(Progress(outcomes.total(), len(jobs), outcomes["success"], outcomes["error"]))

    def finished(episodes: list[Episode]) -> None:
        writer.add(*episodes)
        for episode in episodes:
            outcomes[episode.outcome] += 1
            report()
        warn(episodes)

    report()
    try:
        play(workers, policy, missing, options, finished)
    finally:
        if isinstance(policy, CountsUsage) and policy.usage:
            log.info("%s", policy.usage)


def _warning_of_errors() -> Callable[[Sequence[Episode]], None]:
    """Return what is called with each finished episode, and warns once if the first ones all end in an error.

    The run continues: the reason may pass, and what is played costs little where everything fails at once.
    """
    failed: list[str] | None = []

    def warn(episodes: Sequence[Episode]) -> None:
        nonlocal failed
        if failed is None:
            return
        if any(is_judged(episode.outcome) for episode in episodes):
            failed = None
            return
        failed += [episode.error or "no reason" for episode in episodes]
        if len(failed) >= FIRST_ERRORS:
            log.warning("none was judged so far: %s", tell(failed, len(failed)))
            failed = None

    return warn


def make_environment(config: EvaluateConfig) -> TextEnv:
    """Make the environment that a configuration names."""
    return make(config.env, **environment_options(config))


def environment_options(config: EvaluateConfig) -> dict[str, Any]:
    """Return the keyword arguments of the environment's class."""
    split = {} if config.split is None else {"split": config.split}
    return {**split, **config.env_options}


def choose_tasks(environment: TextEnv, config: EvaluateConfig) -> list[Task]:
    """Return the tasks to play, in the environment's order.

    ``limit`` draws without replacement and with the seed: the first tasks of a list are rarely typical of it.
    """
    tasks = list(environment.tasks)
    if config.tasks is not None:
        wanted = {environment.find_task(key).id for key in config.tasks}
        tasks = [task for task in tasks if task.id in wanted]
    if config.limit is not None and config.limit < len(tasks):
        drawn = set(random.Random(config.seed).sample(range(len(tasks)), config.limit))
        tasks = [task for index, task in enumerate(tasks) if index in drawn]
    if not tasks:
        raise UserError(f"no tasks to play in environment {config.env!r}")
    return tasks


def run_identity(config: EvaluateConfig, environment: TextEnv, policy: Policy, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return everything that decides the episodes of a run: only a run with an equal one is resumed."""
    return {
        "env": config.env,
        "split": config.split,
        "env_options": config.env_options,
        "environment_digest": environment.digest,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "trials": config.trials,
        "seed": config.seed,
        "number_of_tasks": len(tasks),
        "tasks_digest": digest_of_json([task.id for task in tasks]),
        **({} if config.max_text == MAX_TEXT else {"max_text": config.max_text}),
    }


def default_folder(config: EvaluateConfig, environment: TextEnv) -> Path:
    """Return ``results/<env>-<split>-<policy>``, made fit for a file name."""
    split = config.split or environment.split
    name = f"{config.env}-{split}-{config.policy}"
    return Path("results") / "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
