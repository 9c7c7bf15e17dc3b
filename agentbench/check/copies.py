"""Checks of an environment among many: spaces, the end, own values, copies, vector environments."""

from __future__ import annotations

import contextlib
import copy
import pickle
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from agentbench.check.episodes import FULL, Extent, difference, some_tasks, walk
from agentbench.check.outcome import RUBBISH
from envs.base.errors import UserError, error_line
from envs.base.moment import copied
from envs.contract import Moment, TextEnv

COPIED = 2  # tasks in which copies are made
ENVIRONMENTS = 2  # of a vector
VECTOR_STEPS = 14
MOST_STEPS = 200  # that are waited for the end


def spaces(environment: TextEnv, extent: Extent) -> Iterator[str]:
    """Yield what an environment gives or takes that is not in its spaces, also flattened."""
    for task in some_tasks(environment, extent):
        observation, _ = environment.reset(seed=0, options={"task": task})
        for text in (observation, *(moment[0] for _, moment in walk(environment, task, seed=0, extent=extent))):
            if text not in environment.observation_space:
                yield f"task {task}: the observation {text!r:.60} is not in the observation space"
                return
        for action in (*(action for action, _ in walk(environment, task, seed=0, extent=extent)), *RUBBISH):
            if action not in environment.action_space:
                yield f"the action {action!r:.60} is not in the action space"
                return
    flat = gymnasium.wrappers.FlattenObservation(environment)
    with contextlib.suppress(UserError):  # a longer text than fits: reported in one line
        if flat.reset(seed=0)[0] not in flat.observation_space:
            yield "a flattened observation is not in the flattened space"


def after_end(environment: TextEnv, other: partial[TextEnv], extent: Extent) -> Iterator[str]:
    """Yield how an episode continues after it ended or was cut, here and restored in a second copy."""
    second = other()
    for task in some_tasks(environment, extent):
        actions = [action for action, _ in walk(environment, task, seed=0, extent=extent)]
        for first in (actions, []):
            last = _to_the_end(environment, task, first)
            if last is None:
                continue  # that it does not end is reported by another check
            second.restore(environment.snapshot())
            for where, again in (("", environment), (", restored in a second copy,", second)):
                for action in actions:
                    if (fault := _went_on(last, again.step(action))) is not None:
                        yield f"task {task}: a step after the end{where} gave {fault}"
                        return
    second.close()


def _to_the_end(environment: TextEnv, task: str, actions: list[str]) -> Moment | None:
    """Play the actions, then wait until the episode is over; return its last moment."""
    environment.reset(seed=0, options={"task": task})
    for action in [*actions, *["?"] * min(environment.max_steps, MOST_STEPS)]:
        moment = environment.step(action)
        if moment[2] or moment[3]:
            return moment
    return None


def _went_on(last: Moment, found: Moment) -> str | None:
    if found[1] != 0:
        return f"the reward {found[1]:g}"
    for name, one, two in (
        ("terminated", last[2], found[2]),
        ("truncated", last[3], found[3]),
        *((key, last[4][key], found[4][key]) for key in ("won", "score")),
    ):
        if one != two:
            return f"{name} {two} instead of {one}"
    return None


def own_values(environment: TextEnv, extent: Extent) -> Iterator[str]:
    """Yield what of an episode changes when the caller changes what was given before."""
    for task in some_tasks(environment, extent):
        made = walk(environment, task, seed=0, extent=extent)
        expected = [copied(moment) for _, moment in made]
        _, info = environment.reset(seed=0, options={"task": task})
        _spoil(info)
        found = []
        for action, _ in made:
            moment = environment.step(action)
            found.append(copied(moment))
            _spoil(moment[-1])
        if (fault := difference(expected, found)) is not None:
            yield f"task {task}: after an earlier info was changed, {fault}"


def _spoil(value: Any) -> None:
    """Change everything inside a value that can be changed."""
    if isinstance(value, dict):
        for each in value.values():
            _spoil(each)
        value.clear()
    elif isinstance(value, list):
        for each in value:
            _spoil(each)
        value.append("spoilt")
    elif isinstance(value, tuple):
        for each in value:
            _spoil(each)


def copies(environment: TextEnv, extent: Extent) -> Iterator[str]:
    """Yield how copies, made before, in and after an episode, continue otherwise than the original."""
    for what, make_copy in (("a pickled copy", _pickled), ("a deep copy", copy.deepcopy)):
        for task in some_tasks(environment, extent)[:COPIED]:
            actions = [action for action, _ in walk(environment, task, seed=0, extent=extent)]
            for done in sorted({0, len(actions) // 2, len(actions)}):
                environment.reset(seed=0, options={"task": task})
                for action in actions[:done]:
                    environment.step(action)
                again = make_copy(environment)
                rest = [*actions[done:], "?"]
                expected = [environment.step(action) for action in rest]
                found = [again.step(action) for action in rest]
                if (fault := difference(expected, found)) is not None:
                    yield f"{what} of task {task} after {done} steps: {fault}"
                    return
                if again.reset()[1]["task_id"] != environment.reset()[1]["task_id"]:
                    yield f"{what} draws another task next"
                    return
                again.close()


def _pickled(environment: TextEnv) -> TextEnv:
    again: TextEnv = pickle.loads(pickle.dumps(environment))  # our own bytes
    return again


def vectors(environment: TextEnv, other: partial[TextEnv]) -> Iterator[str]:
    """Yield how vector environments of copies differ from the same episodes played one by one."""
    tasks = [some_tasks(environment, FULL)[0]] * ENVIRONMENTS
    plans = [[action for action, _ in walk(environment, task, 0, FULL)] for task in tasks]
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        seen = []
        for what, kind in (("sync", SyncVectorEnv), ("async", AsyncVectorEnv)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                vector = kind([other] * ENVIRONMENTS, autoreset_mode=mode)
            try:
                seen.append(_played(vector, tasks, plans, mode))
            except Exception as error:
                yield f"{what}, autoreset {mode.value}: it raised {error_line(error)}"
            finally:
                vector.close()
        if len(seen) == 2 and seen[0] != seen[1]:
            step = next(index for index, (one, two) in enumerate(zip(*seen, strict=True)) if one != two)
            yield f"autoreset {mode.value}: step {step} of sync and async differ: {seen[1][step]!r:.80}"


def _played(
    vector: VectorEnv[Any, Any, Any], tasks: list[str], plans: list[list[str]], mode: AutoresetMode
) -> list[Any]:
    """Play the plans, the second environment one step behind; return what was seen of each step."""
    observations, _ = vector.reset(seed=0, options={"task": tasks[0]})
    found: list[Any] = [tuple(observations)]
    for step in range(VECTOR_STEPS):
        turns = [step - index for index in range(ENVIRONMENTS)]
        actions = [plan[turn] if 0 <= turn < len(plan) else "?" for plan, turn in zip(plans, turns, strict=True)]
        observations, rewards, ended, cut, infos = vector.step(tuple(actions))
        ids = [str(each) for each in infos["task_id"]]
        found.append((tuple(observations), tuple(rewards), tuple(ended), tuple(cut), ids))
        over = ended | cut
        if mode == AutoresetMode.DISABLED and over.any():
            vector.reset(options={"task": tasks[0], "reset_mask": over})
    return found
