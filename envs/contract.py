"""The contract of every environment: text in, text out, a fixed list of tasks, exact branching.

An environment is a Gymnasium environment whose observations and actions are strings. ``reset`` and ``step``
return an ``info`` dictionary with at least the keys of :data:`INFO_KEYS`:

======================  ==========================================================================
``task_id``             stable id of the task, derived from its content
``task_type``           the benchmark's own name for the kind of task
``instruction``         the text of the task alone, as the agent is told it
``anchor``              string; equal strings in two episodes of a task count as the same situation
``admissible_actions``  list of complete action strings, or ``None`` where they cannot be listed
``is_valid``            whether the last action was understood and carried out (``True`` after reset)
``won``                 whether the task is solved now
``score``               progress in [0, 1] as the benchmark scores it (1.0 if and only if fully solved)
======================  ==========================================================================
Optional keys are ``walkthrough`` (actions that solve the task), ``background`` (text for an agent: who asks, what day
it is) and ``example_actions`` (where actions cannot be listed: a few that are possible, for random policies).
"""

from __future__ import annotations

import math
import string
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium

from envs.errors import UserError, unknown
from envs.options import checked

INFO_KEYS = ("task_id", "task_type", "instruction", "anchor", "admissible_actions", "is_valid", "won", "score")

Info = dict[str, Any]

MOST_STEPS = 1_000_000
"""No episode is longer: a larger ``max_steps`` is a slip."""

RenderMode = Literal["ansi"] | None


@dataclass(frozen=True, slots=True)
class Task:
    """One problem of an environment.

    Attributes:
        id: stable, derived from the content of the task, so it survives renaming and reordering.
        name: where the task comes from, for people (a path of the official data, ``generated:0:17``).
        type: the benchmark's name for the kind of task, the strata of every table.
        index: position in the environment's task list, from 0.
    """

    id: str
    name: str
    type: str
    index: int


class TextSpace(gymnasium.spaces.Text):
    """Any string. Samples are short printable strings; every ``str`` is a member, whatever its length."""

    def __init__(self) -> None:
        super().__init__(max_length=40, charset=string.ascii_lowercase + " ")

    def contains(self, x: Any) -> bool:
        """Tell whether ``x`` is a string."""
        return isinstance(x, str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __hash__(self) -> int:
        return hash(TextSpace)


class TextEnv(gymnasium.Env[str, str]):
    """Base class of the environments: picks the task, counts steps, truncates; subclasses play.

    A subclass sets ``name``, implements ``tasks``, ``digest``, ``_start``, ``_act``, ``_save`` and ``_load``,
    and calls ``super().__init__(max_steps)``. Everything else (choice of the task, step limit, snapshots,
    the common part of ``info``) is here once.

    Args:
        max_steps: the episode is truncated after this many steps; at least 1.
    """

    notes: Sequence[str] = ()
    """What a reader of a result must know: a part of the data set is missing, a stand-in was used."""

    protected: str = ""
    """Why episodes may not be passed on in the open (a licence's wish); empty where they may."""

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (as Gymnasium declares it)
    name: ClassVar[str]

    def __init_subclass__(cls, **more: Any) -> None:
        """Have every way to make an environment read its options as their declared types (:mod:`envs.options`)."""
        super().__init_subclass__(**more)
        if "__init__" in cls.__dict__:
            cls.__init__ = checked(  # type: ignore[method-assign]
                cls.__init__, lambda made: f"environment {getattr(made, 'name', type(made).__name__)!r}"
            )

    def __init__(self, max_steps: int) -> None:
        if max_steps < 1:
            raise UserError(f"max_steps must be at least 1, got {max_steps}")
        self.max_steps = max_steps
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.render_mode: str | None = None
        self._task: Task | None = None
        self._about: Info = {}
        self._steps = 0
        self._observation = ""

    # -- what a subclass provides ---------------------------------------------------------------

    @property
    @abstractmethod
    def tasks(self) -> Sequence[Task]:
        """All tasks, in an order that depends on nothing but their content and the arguments."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Short hash of everything that decides how episodes go: engine, its version, options, limits.

        Runs with equal digests may be compared and resumed; the list of tasks is not part of it.
        """

    @abstractmethod
    def _start(self, task: Task) -> tuple[str, Info]:
        """Begin ``task``; return its first observation and ``info`` (without the task's own keys).

        Sets ``self._about``, what every ``info`` of the episode repeats: ``instruction``, and ``walkthrough`` (a
        list of actions that solves the task) where there is one.
        """

    @abstractmethod
    def _act(self, action: str) -> tuple[str, float, bool, Info]:
        """Carry out ``action``; return observation, reward, terminated and ``info``."""

    @abstractmethod
    def _save(self) -> Any:
        """Return everything that decides how the episode goes on, as a picklable value never changed later."""

    @abstractmethod
    def _load(self, state: Any) -> Info:
        """Go back to a value of ``_save`` of the same task, already begun; return ``info``."""

    # -- Gymnasium's face --------------------------------------------------------------------------

    def find_task(self, key: str) -> Task:
        """Return the task whose id or name is ``key``.

        Raises:
            UserError: there is no such task; the text names the nearest ones.
        """
        for task in self.tasks:
            if key in (task.id, task.name):
                return task
        raise unknown("task", key, [name for task in self.tasks for name in (task.id, task.name)])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode.

        Args:
            seed: seeds the choice of the task (where ``options`` names none) and the engine's own draws.
            options: ``{"task": key}`` chooses the task by id or name.
        """
        super().reset(seed=seed)
        options = options or {}
        if extra := set(options) - {"task"}:
            raise UserError(f"reset option {sorted(extra)[0]!r} is not known: the only one is 'task'")
        if "task" in options:
            self._task = self.find_task(str(options["task"]))
        else:
            self._task = self.tasks[int(self.np_random.integers(len(self.tasks)))]
        self._steps = 0
        self._observation, info = self._start(self._task)
        return self._observation, self._with_task(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Carry out one action: observation, reward, terminated, truncated, info.

        Any string is a legal argument; one that the engine does not understand changes nothing but the
        step count and gives ``info["is_valid"] == False``.

        Raises:
            ValueError: the environment gave a reward or score that is not finite: no mean could be taken of it.
        """
        if self._task is None:
            raise UserError("step() before reset(): call reset() first")
        if not isinstance(action, str):
            raise UserError(f"an action is a string, got {type(action).__name__}")
        self._observation, reward, terminated, info = self._act(action)
        score = info.get("score", 0.0)
        if not (math.isfinite(reward) and math.isfinite(score)):
            raise ValueError(f"the reward {reward} or the score {score} is not finite")
        self._steps += 1
        truncated = not terminated and self._steps >= self.max_steps
        return self._observation, float(reward), terminated, truncated, self._with_task(info)

    def render(self) -> str:
        """Return the present observation (render mode ``ansi``)."""
        return self._observation

    # -- exact branching -----------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        """Return the present point of the episode: picklable, small, valid in any copy of this environment."""
        if self._task is None:
            raise UserError("snapshot() before reset(): call reset() first")
        return (self._task.id, self._steps, self._observation, self._save())

    def restore(self, snapshot: tuple[Any, ...]) -> tuple[str, Info]:
        """Go back to a snapshot; return the observation and ``info`` of that point.

        What follows is exactly what would have followed there.
        """
        task_id, steps, observation, state = snapshot
        if self._task is None or self._task.id != task_id:
            self._task = self.find_task(task_id)
            self._start(self._task)
        self._steps, self._observation = steps, observation
        return observation, self._with_task(self._load(state))

    def _with_task(self, info: Info) -> Info:
        assert self._task is not None
        return {"task_id": self._task.id, "task_type": self._task.type, **self._about, **info}
