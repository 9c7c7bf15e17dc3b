"""What spoils an evaluation before it is measured: tasks that the policy was trained on.

Nothing here is refused: all of it can be meant. It is said at the start, and stays in ``run.json`` as a note.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agentbench.runs.episodes import Episode
from agentbench.runs.run import RUN_FILE
from envs.base.digest import read_sealed, sealed
from envs.base.errors import UserError
from envs.base.files import write_text
from envs.base.log import log
from envs.contract import Task
from envs.registry import Environment, find, make
from policies.saved import is_saved

CLONE_FILE = "clone.json"
_HELD_OUT = re.compile(r"(valid(?!_train)|val($|[_:])|eval|test|dev($|[_:])|held)", re.IGNORECASE)
_ANCESTORS = 5


def is_held_out(split: str | None) -> bool:
    """Return whether a split is for evaluation by its name: ``valid_unseen``, ``test_normal``, ``dev``, ``eval``."""
    return bool(split and _HELD_OUT.match(split))


def clone_notes(split: str | None) -> list[str]:
    """Say that a policy learns from a split that is held out by its name."""
    if not is_held_out(split):
        return []
    return [f"learning from {split}, a split held out for evaluation: do not evaluate this policy on it"]


def overlap_notes(policy: str, env: str, evaluated: Iterable[str]) -> list[str]:
    """Say which of the evaluated tasks a saved policy was trained on, as far as its folder says.

    Args:
        policy: as it is named for an evaluation; one that is no folder has nothing to tell.
        env: name of the environment.
        evaluated: ids of the tasks.
    """
    evaluated = set(evaluated)
    return [
        f"{len(shared)} of the {len(evaluated)} evaluated tasks were trained on before ({how}): "
        "success on them says nothing of tasks that were never seen"
        for how, tasks in learned_tasks(policy, env)
        if (shared := tasks & evaluated)
    ]


def learned_tasks(policy: str, env: str) -> Iterator[tuple[str, set[str]]]:
    """Yield how a saved policy, and those that it was made from, learned, and the ids of the tasks that they saw."""
    for _ in range(_ANCESTORS):
        found = _record(Path(policy))
        if found is None:
            return
        path, record = found
        identity = record.get("identity", record)
        if identity.get("env") == env:
            if path.name == CLONE_FILE:
                yield f"cloned in {path.parent}", set(record["tasks"])
            else:
                tasks = _if_there(env, str(identity.get("split")), identity.get("env_options") or {})
                yield f"trained in {path.parent} on {identity.get('split')}", set(tasks)
        policy = str(identity.get("policy", ""))


def write_clone_record(
    folder: Path, source: Path, env: str, policy: str, episodes: Iterable[Episode], how: dict[str, Any] | None = None
) -> None:
    """Write beside a cloned policy which tasks it saw, so that an evaluation on them can say so, and how it learned."""
    tasks = sorted({episode.task_id for episode in episodes})
    record = sealed({"source": str(source), "env": env, "policy": policy, "tasks": tasks, **(how or {})})
    write_text(folder / CLONE_FILE, json.dumps(record, indent=2) + "\n")


def say_notes(notes: Iterable[str]) -> None:
    """Warn of each note."""
    for note in notes:
        log.warning("%s", note)


def task_ids(env: str, split: str, options: dict[str, Any]) -> list[str]:
    """Return the ids of the tasks of a split, in order.

    Raises:
        UserError: there is no such split, or its data is missing.
    """
    return [task.id for task in tasks_of_split(env, split, options)]


def tasks_of_split(env: str, split: str, options: dict[str, Any]) -> list[Task]:
    """Return the tasks of a split, in order, each listed once a process: a generated game is made to be listed.

    Raises:
        UserError: there is no such split, or its data is missing.
    """
    try:
        said = json.dumps(options, sort_keys=True)
        is_plain = json.loads(said) == options
    except TypeError:
        is_plain = False
    if not is_plain:
        return list(_listed(env, split, options))
    return list(_kept_tasks(find(env), env, split, said))


@functools.lru_cache(maxsize=16)
def _kept_tasks(entry: Environment, env: str, split: str, options: str) -> tuple[Task, ...]:
    """Keep lists by the entry too: another environment may be registered under a name."""
    return _listed(env, split, json.loads(options))


def _listed(env: str, split: str, options: dict[str, Any]) -> tuple[Task, ...]:
    environment = make(env, **{**options, "split": split})
    try:
        return tuple(environment.tasks)
    finally:
        environment.close()


def _if_there(env: str, split: str, options: dict[str, Any]) -> list[str]:
    try:
        return task_ids(env, split, options)
    except (UserError, TypeError):  # of another machine, or of data that is gone
        return []


def _record(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find how a policy's folder was made: by a clone, or by the training run that it lies in."""
    if not is_saved(folder):
        return None  # a policy by name: the working directory may be a run of something else
    around = (folder, folder.parent, folder.parent.parent)
    for path in (folder / CLONE_FILE, *(each / RUN_FILE for each in around)):
        try:
            record = read_sealed(path)
            if path.name == CLONE_FILE or record["kind"] == "train":
                return path, record
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return None
