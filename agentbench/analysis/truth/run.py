"""Play groups of episodes and find the true advantage of every step: resumable, in several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pandas as pd

from agentbench.analysis.truth.exact import TooManyStatesError, solve_task
from agentbench.analysis.truth.monte_carlo import branch
from agentbench.analysis.truth.problems import PROBLEMS, make_problem
from agentbench.analysis.truth.table import EpisodeTruth, write_truth
from agentbench.analysis.truth.tabular import as_episodes, play_problem
from agentbench.evaluation.config import check_config
from agentbench.evaluation.evaluate import Progress, environment_options, evaluate
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.failures import NothingJudgedError, tell_episodes
from agentbench.runs.lines import add_lines, read_lines
from agentbench.runs.provenance import describe
from agentbench.runs.run import Run, open_run
from agentbench.runs.writer import RunWriter
from agentbench.worker.host import ignore_signals
from envs.base.errors import UserError, error_line, unknown
from envs.base.log import log
from envs.base.safe_text import redacted
from envs.contract import StateModel, Task, TextEnv
from envs.registry import ENVIRONMENTS, find, load, make
from policies import Policy, make_policy
from policies.contract import KnowsProbabilities, SaysWhetherMarkov
from policies.registry import place_of

METHODS = ("auto", "exact", "monte-carlo")
PARTS_FILE = "truth.jsonl"
"""One finished episode a line, after a first line with the settings: what makes it resumable."""


@dataclass(frozen=True)
class TruthSettings:
    """What decides the truth of a run, beside the run itself.

    Attributes:
        env, env_options, policy, seed: as of the run.
        group_size: trials of a task that are a group.
        method: ``exact``, ``monte-carlo``, or ``auto``: exact for each task where that can be done.
        rollouts, critic_rollouts: of :func:`agentbench.analysis.truth.monte_carlo.branch`.
        state_limit: most states of a game that are counted.
        all_actions: whether every admissible action is judged, not only the one that was taken.
        reference: the policy whose advantages are found, where that is not the one that played.
    """

    env: str
    env_options: dict[str, Any]
    policy: str
    seed: int
    group_size: int
    method: str
    rollouts: int
    critic_rollouts: int
    state_limit: int
    all_actions: bool = False
    reference: str | None = None

    @property
    def judge(self) -> str:
        """Name of the policy whose advantages are found."""
        return self.reference or self.policy

    def as_record(self) -> dict[str, Any]:
        """Return what is written of it: settings that came later are left out where they change nothing."""
        later = {"all_actions": False, "reference": None}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


def make_truth(
    out: Path,
    *,
    env: str = "alfworld",
    policy: str = "mixed:0.5",
    split: str | None = None,
    tasks: int | None = None,
    group_size: int = 8,
    groups: int | None = None,
    method: str = "auto",
    rollouts: int = 16,
    critic_rollouts: int = 8,
    state_limit: int = 200_000,
    seed: int = 0,
    workers: int = 2,
    executor: str = "local",
    memory_limit: float = 2048.0,
    env_options: dict[str, Any] | None = None,
    all_actions: bool = False,
    reference: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_played: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Play groups, store them as a run in ``out``, and write the true advantages beside it.

    Args:
        out: folder; the same call after an interruption continues where it stopped.
        env: an environment, or one of :data:`agentbench.analysis.truth.problems.PROBLEMS`, which has its own policy.
        policy: name of a policy; ignored for a problem.
        split, env_options: of the environment; for a problem its settings are the options.
        tasks: play only so many tasks, drawn with the seed.
        group_size: episodes a group.
        groups: groups a task; None: 1, and 100 of a problem, which is played in no time.
        method, rollouts, critic_rollouts, state_limit: see :class:`TruthSettings`.
        seed: of every draw.
        workers: processes; nothing depends on it.
        memory_limit: MB at which a worker that plays is replaced.
        all_actions: judge every admissible action too: ``truth-actions.parquet``.
        reference: a policy whose advantages are found instead of those of the one that plays.
        on_progress: called with the number of episodes whose truth is found and of all, after each.
        on_played: called after each episode that was played before.

    Returns:
        the table (:data:`agentbench.analysis.truth.table.TRUTH_COLUMNS`).

    Raises:
        UserError: a wrong setting; ``exact`` where it cannot be had; every episode ended in an error.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    groups = (100 if env in PROBLEMS else 1) if groups is None else groups
    if group_size < 1 or groups < 1:
        raise UserError(f"group size and number of groups must be at least 1, got {group_size} and {groups}")
    if executor != "local" and "engine" in (place_of(policy), place_of(reference or policy)):
        raise UserError(
            "truth asks the policy in processes of this machine, not vLLM's engines on a cluster: take --executor local"
        )
    options = dict(env_options or {})
    if env in PROBLEMS:
        if reference is not None:
            raise UserError(f"the problem {env!r} has a policy of its own: leave --reference out")
        return _problem_truth(out, env, options, group_size, groups, seed, all_actions)
    config = check_config(env=env, policy=policy, split=split, limit=tasks, env_options=options, seed=seed)
    settings = TruthSettings(
        env, environment_options(config), policy, seed, group_size, method, rollouts,
        critic_rollouts, state_limit, all_actions, reference,
    )  # fmt: skip
    check_method(settings)
    played = evaluate(
        env, policy, split=split, out=out, limit=tasks, trials=group_size * groups, seed=seed, workers=workers,
        executor=executor, env_options=options, on_progress=on_played, memory_limit=memory_limit,
    )  # fmt: skip
    _check_judged(played.run)
    found = _all_truths(played.run, settings, workers, on_progress)
    return write_truth(played.run, found, settings.as_record())


def _check_judged(run: Run) -> None:
    """Say how many episodes have no truth because they ended in an error.

    Raises:
        NothingJudgedError: all of them did.
    """
    episodes = list(run.read_episodes())
    if errors := tell_episodes(episodes):
        if not any(is_judged(episode.outcome) for episode in episodes):
            raise NothingJudgedError(f"there is no truth of {run.folder}: {errors}; fix that and choose another --out")
        log.warning("left out: %s", errors)


def check_method(settings: TruthSettings) -> None:
    """Refuse, before anything is played, what cannot be computed exactly.

    Raises:
        UserError: exact values were asked for, and the environment or the policy rules them out.
    """
    if settings.rollouts < 2:
        raise UserError(f"--rollouts must be at least 2 for a standard error, got {settings.rollouts}")
    if settings.critic_rollouts < 0:
        raise UserError(f"--critic-rollouts must not be negative, got {settings.critic_rollouts}")
    if settings.method == "exact":
        environment = make(settings.env, **settings.env_options)
        _counted(settings.env, environment, make_policy(settings.judge, environment=settings.env))
        environment.close()


@dataclass(frozen=True)
class _Counted:
    """What exact values are computed from: a state model for each task, and a policy that knows its probabilities."""

    model_of: Callable[[Task], StateModel]
    policy: KnowsProbabilities


def _counted(env: str, environment: TextEnv, policy: Policy) -> _Counted:
    """Return what exact values are computed from.

    Raises:
        UserError: environment or policy rule them out.
    """
    states = find(env).states
    try:
        if states is None:
            able = ", ".join(name for name, entry in ENVIRONMENTS.items() if entry.states)
            raise UserError(f"the states of {env!r} cannot be counted, only those of {able}")
        if not isinstance(policy, KnowsProbabilities):
            raise UserError(f"policy {policy.name!r} does not say its probabilities")
        if not (isinstance(policy, SaysWhetherMarkov) and policy.is_markov):
            raise UserError(
                f"policy {policy.name!r} looks at the history, so its choice is not a function of the state"
            )
        return _Counted(load(states)(environment), policy)
    except UserError as error:
        raise UserError(f"exact advantages cannot be computed: {error}; take --method monte-carlo") from None


def _problem_truth(
    out: Path, name: str, options: dict[str, Any], group_size: int, groups: int, seed: int, all_actions: bool
) -> pd.DataFrame:
    problem = make_problem(name, **options)
    played = play_problem(problem, group_size * groups, seed)
    settings = {"env": name, "env_options": problem.settings, "group_size": group_size, "seed": seed, "method": "exact"}
    identity = {"kind": "problem", **settings, "groups": groups}
    with RunWriter(out, identity, {"kind": "truth", "notes": [], **describe()}) as writer:
        episodes = list(as_episodes(played))
        for episode in episodes:
            if episode.key not in writer.finished:
                writer.add(episode)
        writer.close_tables()
    policy = problem.process.policy[problem.process.observation]
    every = played.solution.A[played.step, played.state]
    bounds = played.is_last.nonzero()[0] + 1
    found = [
        EpisodeTruth(
            episode.task_id, episode.trial, "exact", played.advantage[first:end].tolist(), [0.0] * (end - first),
            played.value[first:end].tolist(), played.state[first:end].astype(str).tolist(),
            policy[played.state[first:end]].tolist(), played.value[first:end].tolist(),
            [[[each, 0.0] for each in row] for row in every[first:end].tolist()] if all_actions else None,
        )
        for episode, first, end in zip(episodes, [0, *bounds[:-1].tolist()], bounds.tolist(), strict=True)
    ]  # fmt: skip
    return write_truth(open_run(out), found, settings)


# -- each episode, once ------------------------------------------------------------------------------------


def _all_truths(
    run: Run, settings: TruthSettings, workers: int, on_progress: Callable[[int, int], None] | None
) -> list[EpisodeTruth]:
    """Find what is missing, a line of ``truth.jsonl`` at a time."""
    path = run.folder / PARTS_FILE
    found = _finished(read_lines(path) or _begin(path, settings), path, settings)
    episodes = [episode for episode in run.read_episodes() if is_judged(episode.outcome)]
    missing = [episode for episode in episodes if episode.key not in found]
    if on_progress:
        on_progress(len(found), len(episodes))
    with closing(_computed(settings, _pieces(missing, settings), workers)) as computed:
        for each in computed:
            found[each.task_id, each.trial] = each
            add_lines(path, [each.as_line()])
            if on_progress:
                on_progress(len(found), len(episodes))
    return [found[episode.key] for episode in episodes]


def _pieces(episodes: Sequence[Episode], settings: TruthSettings) -> list[list[Episode]]:
    """Cut episodes into pieces of work: those of a task, whose states are counted once; a group where none are."""
    pieces: dict[tuple[str, int], list[Episode]] = {}
    for episode in episodes:
        group = episode.trial // settings.group_size if settings.method == "monte-carlo" else 0
        pieces.setdefault((episode.task_id, group), []).append(episode)
    return list(pieces.values())


def _begin(path: Path, settings: TruthSettings) -> list[dict[str, Any]]:
    """Write and return the first line: the file is new, or was killed before that line was whole."""
    add_lines(path, [{"settings": settings.as_record()}])
    return read_lines(path)


def _finished(
    lines: Sequence[dict[str, Any]], path: Path, settings: TruthSettings
) -> dict[tuple[str, int], EpisodeTruth]:
    """Return what the lines of ``path`` say is finished.

    Raises:
        UserError: they were made with other settings, or do not say with which.
    """
    head, *parts = lines
    there, wanted = head.get("settings"), json.loads(json.dumps(settings.as_record()))
    if not isinstance(there, dict):
        raise UserError(f"the first line of {path} is damaged, so nobody knows how it was made: remove that file")
    if there != wanted:
        names = dict.fromkeys((*wanted, *there))
        changed = ", ".join(name for name in names if there.get(name) != wanted.get(name))
        raise UserError(f"{path} was made with another {changed}: choose another --out, or remove that file")
    found = [EpisodeTruth(**part) for part in parts if {*part, "actions"} == set(EpisodeTruth.__dataclass_fields__)]
    return {(each.task_id, each.trial): each for each in found}


def _computed(
    settings: TruthSettings, pieces: list[list[Episode]], workers: int
) -> Generator[EpisodeTruth, None, None]:
    """Compute the truth of episodes, piece by piece."""
    if workers == 1 or len(pieces) < 2:
        for episodes in pieces:
            yield from truth_of_task(settings, episodes)
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(pieces)), mp_context=spawn, initializer=_begin_worker) as pool:
        try:
            for part in pool.map(truth_of_task_list, [settings] * len(pieces), pieces):
                yield from part
        except BrokenProcessPool:
            raise UserError(
                "a process that finds true advantages died (for want of memory?): take fewer --workers; what is "
                "finished is stored, and the same command continues from there"
            ) from None
        except BaseException:  # the pool would wait for what is under way, which can take hours
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.kill()
            raise


def _begin_worker() -> None:
    """Leave it to the parent what a signal means, and keep a model from starting a thread for every core."""
    ignore_signals()
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def truth_of_task_list(settings: TruthSettings, episodes: Sequence[Episode]) -> list[EpisodeTruth]:
    """Compute :func:`truth_of_task` in a worker process."""
    return list(truth_of_task(settings, episodes))


def truth_of_task(settings: TruthSettings, episodes: Sequence[Episode]) -> Iterator[EpisodeTruth]:
    """Yield the truth of episodes of one task, exactly or by branching, as the settings say.

    Raises:
        UserError: ``exact`` was asked for, and the task has too many states; environment or policy failed.
    """
    try:
        yield from _truth_of_task(settings, episodes)
    except UserError:
        raise
    except Exception as error:  # of the environment or the policy, which nobody supervises here
        raise UserError(
            f"no truth of task {episodes[0].task_name}: {redacted(error_line(error))}; what is finished is "
            "stored, and the same command continues from there"
        ) from error


def _counted_if_wanted(settings: TruthSettings, environment: TextEnv, policy: Policy) -> _Counted | None:
    if settings.method == "monte-carlo":
        return None
    try:
        return _counted(settings.env, environment, policy)
    except UserError:
        if settings.method == "exact":
            raise
        return None


def _truth_of_task(settings: TruthSettings, episodes: Sequence[Episode]) -> Iterator[EpisodeTruth]:
    environment = make(settings.env, **settings.env_options)
    policy = make_policy(settings.judge, environment=settings.env)
    task = environment.find_task(episodes[0].task_id)
    if counted := _counted_if_wanted(settings, environment, policy):
        try:
            model = counted.model_of(task)
            found = solve_task(
                environment, model, counted.policy, task, episodes, settings.state_limit, settings.all_actions
            )
            yield from (_of_another(each) if settings.reference else each for each in found)
            return
        except TooManyStatesError as error:
            if settings.method == "exact":
                raise
            log.info("task %s: %s; branching instead", task.name, error)
    for episode in episodes:
        branched = branch(
            environment, policy, task, episode.trial, episode.steps, rollouts=settings.rollouts, seed=settings.seed,
            critic_rollouts=settings.critic_rollouts, all_actions=settings.all_actions,
        )  # fmt: skip
        each = EpisodeTruth(
            task.id, episode.trial, "monte-carlo", branched.advantage, branched.standard_error, branched.value,
            branched.state, branched.probabilities, branched.critic, branched.actions,
        )  # fmt: skip
        yield _of_another(each) if settings.reference else each


def _of_another(truth: EpisodeTruth) -> EpisodeTruth:
    """Leave out the probabilities: they are not those of the policy that played, whose gradient nobody asked for."""
    return replace(truth, probabilities=[None] * len(truth.probabilities))
