"""What is to be played, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass

from agentbench.runs.episodes import MAX_TEXT
from envs.contract import Task


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play: a task, and which trial of it."""

    task: Task
    trial: int


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """Limits of a rollout. Seconds count the environment's work alone, never the policy's thinking.

    Attributes:
        workers: number of worker processes; at least 1.
        seed: every random draw of an episode derives from it, the task's id and the trial.
        step_timeout: seconds that one ``reset`` or ``step`` may take.
        episode_timeout: seconds that all of an episode's ``reset`` and ``step`` calls may take together.
        memory_limit: MB of resident memory at which a worker is replaced; one that has played nothing must be below.
        attempts: how often an episode is tried before its outcome is ``error``.
        max_text: characters of an action or an answer that are stored; the environment gets all of it.
    """

    workers: int = 1
    seed: int = 0
    step_timeout: float = 60.0
    episode_timeout: float = 600.0
    memory_limit: float = 2048.0
    attempts: int = 3
    max_text: int = MAX_TEXT
