"""Episodes that the checks of an environment play, and how two of them differ."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from envs.contract import Moment, TextEnv

SLOW = 2.0  # seconds that the beginning of one episode takes where less is played


@dataclass(frozen=True, slots=True)
class Extent:
    """How much the checks play: of each episode so many steps, in so many tasks, and so many walks by chance."""

    tasks: int = 3
    steps: int = 12
    walks: int = 3


FULL, BRIEF = Extent(), Extent(tasks=1, steps=4, walks=1)


def fitting_extent(make: Callable[[], TextEnv]) -> Extent:
    """Return how much to play of an environment so that its checks end in a few minutes: some play slowly."""
    started = time.monotonic()
    with contextlib.suppress(Exception), contextlib.closing(make()) as environment:  # the checks find what fails here
        walk(environment, some_tasks(environment, BRIEF)[0], 0, FULL)
    return BRIEF if time.monotonic() - started > SLOW else FULL


def some_tasks(environment: TextEnv, extent: Extent) -> list[str]:
    """Return the ids of a few tasks, from all over the list."""
    tasks = environment.tasks
    return [tasks[index].id for index in sorted({0, len(tasks) // 2, len(tasks) - 1})][: extent.tasks]


def play(environment: TextEnv, task: str, seed: int, extent: Extent) -> list[Moment]:
    """Return every moment of the beginning of an episode, the first being that of ``reset``."""
    observation, info = environment.reset(seed=seed, options={"task": task})
    return [(observation, 0.0, False, False, info), *(moment for _, moment in walk(environment, task, seed, extent))]


def walk(environment: TextEnv, task: str, seed: int, extent: Extent) -> list[tuple[str, Moment]]:
    """Play a new episode: the solution where there is one, else actions drawn from those offered, or words."""
    _, info = environment.reset(seed=seed, options={"task": task})
    draw = random.Random(seed)
    solution = iter(info.get("walkthrough") or [])
    made: list[tuple[str, Moment]] = []
    for _ in range(min(extent.steps, environment.max_steps)):
        offered = info["admissible_actions"] or ["look", "help"]
        action = (next(solution, None) if seed % 2 == 0 else None) or draw.choice(offered)
        moment = environment.step(action)
        made.append((action, moment))
        info = moment[-1]
        if moment[2] or moment[3]:
            break
    return made


def difference(expected: list[Moment], found: list[Moment]) -> str | None:
    """Say in what the second of two episodes differs first, or return None."""
    names = ("observation", "reward", "terminated", "truncated", "info")
    if len(expected) != len(found):
        return f"the episode has {len(found)} steps instead of {len(expected)}"
    for index, (one, two) in enumerate(zip(expected, found, strict=True)):
        for name, a, b in zip(names, one, two, strict=True):
            if a != b:
                return f"the {name} of step {index} is {b!r:.80} instead of {a!r:.80}"
    return None
