"""Checking an environment against :mod:`envs.contract`."""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

from agentbench.check.outcome import RUBBISH, Check, Outcome, run_checks
from envs.contract import INFO_KEYS, Info, TextEnv
from envs.registry import make

STEPS = 12  # of an episode that are played
TASKS = 3  # that are played
SEEDS = 3  # of walks, where one could pass by chance

_KEPT = ("admissible_actions", "score", "won")  # of info: what an invalid action leaves as it is

Moment = tuple[str, float, bool, bool, Info]
"""What a step gives: observation, reward, terminated, truncated, info."""


def check_environment(name: str, **options: Any) -> Iterator[Outcome]:
    """Check the environment called ``name``; ``options`` go to its class.

    Raises:
        UserError: unknown name or option, a plug-in that cannot be used, or data that is not installed.
    """
    environment = make(name, **options)
    other = partial(make, name, **options)
    checks: list[tuple[str, Check]] = [
        ("tasks: some, ids and names unique, the same in every copy", partial(_tasks, environment, other)),
        ("gymnasium's own check", partial(_gymnasium, environment)),
        ("info: every key of the contract, of its type", partial(_info, environment)),
        ("the same seed and actions give the same episode", partial(_determinism, environment, other)),
        ("snapshot and restore are exact", partial(_snapshots, environment, other)),
        ("a string that it does not understand changes nothing", partial(_rubbish, environment)),
        ("an episode ends after max_steps, and is won with score 1 only", partial(_ends, environment)),
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


def _info(environment: TextEnv) -> Iterator[str]:
    for task in _some_tasks(environment):
        for when, moment in enumerate(_play(environment, task, seed=0)):
            for fault in _info_faults(moment[-1]):
                yield f"task {task}, after {when} steps: {fault}"


def _info_faults(info: Info) -> Iterator[str]:
    for key in INFO_KEYS:
        if key not in info:
            yield f"info has no {key!r}"
    for key, kind in (("task_id", str), ("task_type", str), ("instruction", str), ("anchor", str)):
        if not isinstance(info.get(key, ""), kind):
            yield f"info[{key!r}] is {info[key]!r:.60}, not {kind.__name__}"
    for key in ("is_valid", "won"):
        if not isinstance(info.get(key, True), bool):
            yield f"info[{key!r}] is {info[key]!r:.60}, not True or False"
    offered = info.get("admissible_actions")
    if offered is not None and not (isinstance(offered, list) and all(isinstance(action, str) for action in offered)):
        yield f"info['admissible_actions'] is {offered!r:.60}, neither a list of strings nor None"
    score = info.get("score", 0.0)
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
        yield f"info['score'] is {score!r:.60}, not a number in [0, 1]"


def _determinism(environment: TextEnv, other: partial[TextEnv]) -> Iterator[str]:
    for task in _some_tasks(environment):
        first = _play(environment, task, seed=7)
        for what, again in (("the same copy", environment), ("a second copy", other())):
            if (fault := _difference(first, _play(again, task, seed=7))) is not None:
                yield f"task {task} in {what}: {fault}"
    environment.reset(seed=3)
    if environment.reset(seed=3)[1]["task_id"] != environment.reset(seed=3)[1]["task_id"]:
        yield "the same seed chooses another task"


def _snapshots(environment: TextEnv, other: partial[TextEnv]) -> Iterator[str]:
    for task in _some_tasks(environment):
        actions = [action for action, _ in _walk(environment, task, seed=1)]
        half = len(actions) // 2
        environment.reset(seed=1, options={"task": task})
        for action in actions[:half]:
            environment.step(action)
        snapshot = pickle.dumps(environment.snapshot())
        expected = [environment.step(action) for action in actions[half:]]
        for what, again in (("the same copy", environment), ("a second copy", other())):
            again.restore(pickle.loads(snapshot))  # our own bytes, made three lines above
            found = [again.step(action) for action in actions[half:]]
            if (fault := _difference(expected, found)) is not None:
                yield f"task {task} in {what}: after restoring, {fault}"


def _rubbish(environment: TextEnv) -> Iterator[str]:
    task = _some_tasks(environment)[0]
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
    for played in _some_tasks(environment):
        for seed in range(SEEDS):
            yield from _unmoved(environment, played, seed)


def _unmoved(environment: TextEnv, task: str, seed: int) -> Iterator[str]:
    """Play the beginning of an episode with and without a string before it that is not understood."""
    environment.reset(seed=seed, options={"task": task})
    plain = _walk(environment, task, seed)
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


def _ends(environment: TextEnv) -> Iterator[str]:
    task = _some_tasks(environment)[0]
    environment.reset(seed=0, options={"task": task})
    for count in range(1, environment.max_steps + 1):
        _, _, terminated, truncated, info = environment.step("?")
        if terminated or info["won"]:
            yield f"task {task}: {count} times the action '?' ended or won the episode"
            return
        if truncated != (count == environment.max_steps):
            yield f"task {task}: truncated is {truncated} after {count} of {environment.max_steps} steps"
            return
    for task in _some_tasks(environment):
        for moment in _play(environment, task, seed=0):
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


def _some_tasks(environment: TextEnv) -> list[str]:
    """Return the ids of a few tasks, from all over the list."""
    tasks = environment.tasks
    return [tasks[index].id for index in sorted({0, len(tasks) // 2, len(tasks) - 1})][:TASKS]


def _play(environment: TextEnv, task: str, seed: int) -> list[Moment]:
    """Return every moment of the beginning of an episode, the first being that of ``reset``."""
    observation, info = environment.reset(seed=seed, options={"task": task})
    return [(observation, 0.0, False, False, info), *(moment for _, moment in _walk(environment, task, seed))]


def _walk(environment: TextEnv, task: str, seed: int) -> list[tuple[str, Moment]]:
    """Play a new episode: the solution where there is one, else actions drawn from those offered, or words."""
    _, info = environment.reset(seed=seed, options={"task": task})
    draw = random.Random(seed)
    solution = iter(info.get("walkthrough") or [])
    made: list[tuple[str, Moment]] = []
    for _ in range(min(STEPS, environment.max_steps)):
        offered = info["admissible_actions"] or ["look", "help"]
        action = (next(solution, None) if seed % 2 == 0 else None) or draw.choice(offered)
        moment = environment.step(action)
        made.append((action, moment))
        info = moment[-1]
        if moment[2] or moment[3]:
            break
    return made


def _difference(expected: list[Moment], found: list[Moment]) -> str | None:
    names = ("observation", "reward", "terminated", "truncated", "info")
    if len(expected) != len(found):
        return f"the episode has {len(found)} steps instead of {len(expected)}"
    for index, (one, two) in enumerate(zip(expected, found, strict=True)):
        for name, a, b in zip(names, one, two, strict=True):
            if a != b:
                return f"the {name} of step {index} is {b!r:.80} instead of {a!r:.80}"
    return None
