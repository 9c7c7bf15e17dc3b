"""What is to be played, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from agentbench.runs.episodes import MAX_TEXT
from envs.contract import Task
from policies.contract import Prompt

Keep = Literal["nothing", "prompts", "snapshots"]

MOST_PARALLEL = 64
"""Episodes that play at once by default, where as many processes as there are processors can host them."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of an episode that was played: what the policy saw, and how to go back to it.

    Attributes:
        prompt: with the whole past.
        snapshot: of the environment; None where it was not kept.
    """

    prompt: Prompt
    snapshot: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Where a branch begins.

    Attributes:
        parent: the trial that it goes on from.
        point: from where; its past has as many steps as the two share.
        root: the trial that the whole course began with: the environment was reset with that one's seed.
        digest: of what was seen on the way (:func:`agentbench.worker.host.digest_of_course`), by which a replay of
            the actions is held to it.
    """

    parent: int
    point: Point
    root: int
    digest: str

    @property
    def fork(self) -> int:
        """Number of steps that it shares."""
        return len(self.point.prompt.history)


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play: a task, and which trial of it; a branch has a start."""

    task: Task
    trial: int
    start: Start | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """Size and limits of a rollout. Nothing that is played depends on its size.

    Seconds count the environment's work alone, never the policy's thinking.

    Attributes:
        workers: number of worker processes; at least 1.
        parallel: episodes that play at once, spread over the workers; None: one in each.
        seed: every random draw of an episode derives from it, the task's id and the trial.
        step_timeout: seconds that one ``reset`` or ``step`` may take.
        episode_timeout: seconds that all of an episode's ``reset`` and ``step`` calls may take together.
        memory_limit: MB of resident memory at which a worker is replaced; one that has played nothing must be below.
        attempts: how often an episode is tried before its outcome is ``error``.
        max_text: characters of an action or an answer that are stored; the environment gets all of it.
        keep: what is kept with every step (:attr:`agentbench.runs.episodes.Step.point`) so that others can branch off.
    """

    workers: int = 1
    parallel: int | None = None
    seed: int = 0
    step_timeout: float = 60.0
    episode_timeout: float = 600.0
    memory_limit: float = 2048.0
    attempts: int = 3
    max_text: int = MAX_TEXT
    keep: Keep = "nothing"

    @property
    def shape(self) -> tuple[int, int]:
        """How many episodes play at once, and in how many processes."""
        parallel = self.parallel or self.workers
        return parallel, min(self.workers, parallel)


def shape_of(parallel: int | None, workers: int | None, per_process: int, processors: int) -> tuple[int, int]:
    """Return how many episodes play at once and in how many processes, where not both are given.

    Args:
        parallel: as given; None: as many as the processes host by default, :data:`MOST_PARALLEL` at most.
        workers: as given; None: one a processor, or more where these would host more than ``per_process`` each.
        per_process: environments that one process hosts by default (:attr:`envs.contract.TextEnv.per_process`).
        processors: where the processes run.
    """
    if workers is None:
        workers = min(processors, MOST_PARALLEL) if parallel is None else max(processors, -(-parallel // per_process))
    if parallel is None:
        parallel = max(workers, min(MOST_PARALLEL, workers * per_process))
    return parallel, min(workers, parallel)
