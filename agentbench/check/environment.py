"""Checking an environment against :mod:`envs.contract`."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

from agentbench.check.copies import after_end, copies, own_values, spaces, vectors
from agentbench.check.episodes import BRIEF, Extent, difference, fitting_extent, play, some_tasks, walk
from agentbench.check.outcome import RUBBISH, Check, Outcome, run_checks
from envs.base.errors import error_line
from envs.base.moment import info_faults
from envs.contract import Moment, TextEnv
from envs.registry import make

_KEPT = ("admissible_actions", "score", "won")  # of info: what an invalid action leaves as it is


def check_environment(name: str, **options: Any) -> Iterator[Outcome]:
    """Check the environment called ``name``; ``options`` go to its class.

    Raises:
        UserError: unknown name or option, a plug-in that cannot be used, or data that is not installed.
    """
    environment = make(name, **options)
    other = partial(make, name, **options)
    extent = fitting_extent(other)
    if extent == BRIEF:
        yield Outcome(f"slow to play, so each check plays {BRIEF.tasks} task and {BRIEF.steps} steps of an episode", ())
    checks: list[tuple[str, Check]] = [
        ("tasks: some, ids and names unique, the same in every copy", partial(_tasks, environment, other)),
        ("gymnasium's own check", partial(_gymnasium, environment)),
        ("info: every key of the contract, of its type", partial(_info, environment, extent)),
        ("the same seed and actions give the same episode", partial(_determinism, environment, other, extent)),
        ("snapshot and restore are exact", partial(_snapshots, environment, other, extent)),
        ("a string that it does not understand changes nothing", partial(_rubbish, environment, extent)),
        ("an episode ends after max_steps, and is won with score 1 only", partial(_ends, environment, extent)),
        ("spaces contain what it takes and gives", partial(spaces, environment, extent)),
        ("a step after the end changes nothing", partial(after_end, environment, other, extent)),
        ("what it gives is the caller's own", partial(own_values, environment, extent)),
        ("a pickled and a deep copy continue as the original", partial(copies, environment, extent)),
        ("vector environments: sync and async, every autoreset mode", partial(vectors, environment, other)),
        ("digest: the same in every copy, other with another step limit", partial(_digest, environment, name, options)),
    ]
    yield from run_checks(checks)


def _tasks(environment: TextEnv, other: partial[TextEnv]) -> Iterator[str]:
    tasks = list(environment.tasks)
    if not tasks:
        yield "it has no tasks"
    for what in ("id", "name"):
        values = [getattr(task, what) for task in tasks]
        if len(set(values)) != len(values):
            twice = next(value for value in values if values.count(value) > 1)
            yield f"the {what} {twice!r} belongs to more than one task"
    if [task.index for task in tasks] != list(range(len(tasks))):
        yield "the index of a task is not its position in the list"
    if list(other().tasks) != tasks:
        yield "a second copy has other tasks, or in another order"


def _gymnasium(environment: TextEnv) -> Iterator[str]:
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium warns of what is on purpose here: spaces without bounds
        check_env(environment, skip_render_check=True)
    yield from ()


def _info(environment: TextEnv, extent: Extent) -> Iterator[str]:
    for task in some_tasks(environment, extent):
        for when, moment in enumerate(play(environment, task, seed=0, extent=extent)):
            for fault in info_faults(moment[-1]):
                yield f"task {task}, after {when} steps: {fault}"


def _determinism(environment: TextEnv, other: partial[TextEnv], extent: Extent) -> Iterator[str]:
    for task in some_tasks(environment, extent):
        first = play(environment, task, seed=7, extent=extent)
        for what, again in (("the same copy", environment), ("a second copy", other())):
            if (fault := difference(first, play(again, task, seed=7, extent=extent))) is not None:
                yield f"task {task} in {what}: {fault}"
    environment.reset(seed=3)
    if environment.reset(seed=3)[1]["task_id"] != environment.reset(seed=3)[1]["task_id"]:
        yield "the same seed chooses another task"


def _snapshots(environment: TextEnv, other: partial[TextEnv], extent: Extent) -> Iterator[str]:
    for task in some_tasks(environment, extent):
        actions = [action for action, _ in walk(environment, task, seed=1, extent=extent)]
        half = len(actions) // 2
        environment.reset(seed=1, options={"task": task})
        for action in actions[:half]:
            environment.step(action)
        snapshot = pickle.dumps(environment.snapshot())
        expected = [environment.step(action) for action in actions[half:]]
        for what, again in (("the same copy", environment), ("a second copy", other())):
            try:
                again.restore(pickle.loads(snapshot))  # our own bytes, made three lines above
                found = [again.step(action) for action in actions[half:]]
            except Exception as error:  # it went on elsewhere, to where nothing fits any more
                yield f"task {task} in {what}: after restoring, it raised {error_line(error)}"
                continue
            if (fault := difference(expected, found)) is not None:
                yield f"task {task} in {what}: after restoring, {fault}"


def _rubbish(environment: TextEnv, extent: Extent) -> Iterator[str]:
    task = some_tasks(environment, extent)[0]
    for text in RUBBISH:
        _, before = environment.reset(seed=0, options={"task": task})
        if text in (before["admissible_actions"] or ()):
            continue
        observation, reward, terminated, _, info = environment.step(text)
        if not isinstance(observation, str):
            yield f"{text!r:.40}: the observation is {type(observation).__name__}"
        if not info["is_valid"]:
            kept = all(info[key] == before[key] for key in _KEPT)
            if terminated or not kept:
                yield f"{text!r:.40} is invalid, and yet changed the episode"
            if reward > 0:
                yield f"{text!r:.40} is invalid, and yet was rewarded with {reward:g}"
    for played in some_tasks(environment, extent):
        for seed in range(extent.walks):
            yield from _unmoved(environment, played, seed, extent)


def _unmoved(environment: TextEnv, task: str, seed: int, extent: Extent) -> Iterator[str]:
    """Play the beginning of an episode with and without a string before it that is not understood."""
    environment.reset(seed=seed, options={"task": task})
    plain = walk(environment, task, seed, extent)
    for text in RUBBISH:
        environment.reset(seed=seed, options={"task": task})
        *_, ended, cut, info = environment.step(text)
        if not (info["is_valid"] or ended or cut):
            break
    else:
        return  # it understands everything
    for count, (action, expected) in enumerate(plain[: environment.max_steps - 1], 1):
        found = environment.step(action)
        for what, one, two in zip(("reward", "end", *_KEPT), _gist(expected), _gist(found), strict=True):
            if one != two:
                yield (
                    f"task {task}: {text!r:.40} is invalid, and yet {count} actions later the {what} is {two!r:.60} "
                    f"instead of {one!r:.60}"
                )
                return


def _gist(moment: Moment) -> tuple[Any, ...]:
    """Return what of a moment cannot depend on the count of steps."""
    return (moment[1], moment[2], *(moment[-1][key] for key in _KEPT))


def _ends(environment: TextEnv, extent: Extent) -> Iterator[str]:
    task = some_tasks(environment, extent)[0]
    environment.reset(seed=0, options={"task": task})
    for count in range(1, environment.max_steps + 1):
        _, _, terminated, truncated, info = environment.step("?")
        if terminated or info["won"]:
            yield f"task {task}: {count} times the action '?' ended or won the episode"
            return
        if truncated != (count == environment.max_steps):
            yield f"task {task}: truncated is {truncated} after {count} of {environment.max_steps} steps"
            return
    for task in some_tasks(environment, extent):
        for moment in play(environment, task, seed=0, extent=extent):
            if moment[-1]["won"] != (moment[-1]["score"] == 1):
                yield f"task {task}: won is {moment[-1]['won']} with a score of {moment[-1]['score']:g}"


def _digest(environment: TextEnv, name: str, options: dict[str, Any]) -> Iterator[str]:
    digest = environment.digest
    if not isinstance(digest, str) or not digest:
        yield f"the digest is {digest!r:.60}, not a text"
    if make(name, **options).digest != digest:
        yield "a second copy has another digest"
    try:
        limited = make(name, **{**options, "max_steps": environment.max_steps + 1})
    except Exception:  # the class has no such option: then the limit is always the same
        return
    if limited.digest == digest:
        yield "with another max_steps the digest is the same"
