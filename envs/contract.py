"""The contract of every environment: text in, text out, a fixed list of tasks, exact branching.

An environment is a Gymnasium environment whose observations and actions are strings. ``reset`` and ``step``
return an ``info`` dictionary with at least the keys of :data:`INFO_KEYS`:

======================  ==========================================================================
``task_id``             stable id of the task, derived from its content
``task_type``           the benchmark's own name for the kind of task
``instruction``         the text of the task alone, as the agent gets it
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

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import gymnasium

from envs.base.errors import ContractError, UserError, unknown
from envs.base.moment import INFO_KEYS, Info, Moment, checked_moment, copied
from envs.base.options import checked
from envs.base.spaces import TextSpace

__all__ = ["INFO_KEYS", "MOST_STEPS", "Info", "Moment", "RenderMode", "Task", "TextEnv", "TextSpace"]

_KEPT = ("max_steps", "render_mode", "spec", "observation_space", "action_space", "_np_random", "_np_random_seed")
"""What a copy of an environment takes over beside its options and the present point of the episode."""

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


Move = tuple[str, Hashable, float, bool]
"""An admissible action, the state that it leads to, its reward, and whether the episode ends there."""


class StateModel(Protocol):
    """All that can happen in one task, state by state: what exact values are computed from.

    Moves are certain: a state and an action lead to one state. A policy's probabilities are asked with the ``info`` of
    the task's beginning and the actions of the state, so nothing else in ``info`` may change how it chooses.
    """

    @property
    def start(self) -> Hashable:
        """The state in which an episode begins."""

    def moves(self, state: Any) -> Iterable[Move]:
        """Return the moves of a state that is not the end, in the order of ``info["admissible_actions"]``."""


class TextEnv(gymnasium.Env[str, str]):
    """Base class of the environments: picks the task, counts steps, truncates; subclasses play.

    A subclass sets ``name``, implements ``tasks``, ``digest``, ``_start``, ``_act``, ``_save`` and ``_load``,
    and calls ``super().__init__(max_steps)``. Everything else (choice of the task, step limit, snapshots,
    the common part of ``info``) is here once.

    An environment can be pickled and deep-copied at any point: a copy is made with the same options, goes to the
    same point as by :meth:`restore`, and draws the same tasks next. What else was set on the object is not copied.

    Args:
        max_steps: the episode is truncated after this many steps; at least 1.
    """

    notes: Sequence[str] = ()
    """What a reader of a result must know: a part of the data set is missing, a stand-in was used."""

    protected: str = ""
    """Why episodes may not be passed on in the open (a licence's wish); empty where they may."""

    per_process: int = 1
    """How many copies one worker process hosts by default, where they take turns. One, where a step waits for something
    outside or a copy weighs hundreds of MB; dozens, where both are small."""

    split: str = "default"
    """The set of tasks; an environment with several sets its own."""

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (as Gymnasium declares it)
    name: ClassVar[str]
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the object, and note the options for its copies."""
        self = super().__new__(cls)
        self._made_with = (args, kwargs)
        return self

    def __init_subclass__(cls, **more: Any) -> None:
        """Have every way to make an environment read its options as their declared types (:mod:`envs.base.options`)."""
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
        self._begun_task: str | None = None  # id of the task that the subclass has begun
        self._is_broken = False  # what the subclass raised left nobody knows what behind
        self._ended: tuple[bool, bool, Info] | None = None  # how the episode ended, and its last info
        self._about: Info = {}
        self._steps = 0
        self._observation = ""

    def notes_on(self, tasks: Sequence[Task]) -> Sequence[str]:
        """Return what a reader of a result on exactly these tasks must know, beside ``notes``; by default nothing."""
        return ()

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
        """Return everything that decides how the episode continues, as a picklable value never changed later."""

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
            task = self.find_task(str(options["task"]))
        else:
            task = self.tasks[int(self.np_random.integers(len(self.tasks)))]
        found = self._begin(task)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ContractError(f"the start of task {task.id} gave {found!r:.60}, not observation and info")
        self._observation, _, _, _, info = self._checked(found[0], 0.0, False, False, found[1])
        self._is_broken = False
        return self._observation, info

    def step(self, action: str) -> Moment:
        """Carry out one action: observation, reward, terminated, truncated, info.

        Any string is a legal argument; one that the engine does not understand changes nothing but the
        step count and gives ``info["is_valid"] == False``. After the end nothing is carried out: the last observation
        and the same end come again, with reward 0 and ``is_valid`` False, until :meth:`reset`.

        Raises:
            UserError: there is no episode to continue with, or the action is not a string.
            ContractError: the subclass gave something that is not what the contract says.
        """
        if self._task is None:
            raise UserError("step() before reset(): call reset() first")
        if not isinstance(action, str):
            raise UserError(f"an action is a string, got {type(action).__name__}")
        if self._ended is not None:
            terminated, truncated, info = self._ended
            return self._observation, 0.0, terminated, truncated, {**copied(info), "is_valid": False}
        if self._is_broken:
            raise UserError("the environment failed in this episode: call reset() first")
        self._is_broken = True
        found = self._act(action)
        if not isinstance(found, tuple) or len(found) != 4:
            raise ContractError(f"an action gave {found!r:.60}, not observation, reward, terminated and info")
        observation, reward, terminated, info = found
        is_last = self._steps + 1 >= self.max_steps
        moment = self._checked(observation, reward, terminated, is_last, info)
        self._is_broken = False
        self._steps += 1
        self._observation = moment[0]
        truncated = is_last and not moment[2]
        if moment[2] or truncated:
            self._ended = (moment[2], truncated, copied(moment[4]))
        return (*moment[:3], truncated, moment[4])

    def render(self) -> str:
        """Return the present observation (render mode ``ansi``)."""
        return self._observation

    def close(self) -> None:
        """End the episode; a subclass that holds something outside of Python releases it here too."""
        self._task = self._begun_task = None

    # -- exact branching -----------------------------------------------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        """Return the present point of the episode: picklable, small, valid in any copy of this environment."""
        if self._task is None:
            raise UserError("snapshot() before reset(): call reset() first")
        if self._ended is not None:  # nothing is asked of the subclass any more: it may have gone on to elsewhere
            terminated, truncated, info = self._ended
            return (self._task, self._steps, self._observation, (terminated, truncated, copied(info)), None)
        return (self._task, self._steps, self._observation, None, self._save())

    def restore(self, snapshot: tuple[Any, ...]) -> tuple[str, Info]:
        """Go back to a snapshot; return the observation and ``info`` of that point.

        What follows is exactly what would have followed there.

        Raises:
            UserError: the environment has no such task, or this is not a snapshot.
        """
        if not isinstance(snapshot, tuple) or len(snapshot) != 5:
            raise UserError(f"restore() takes what snapshot() gave, not {snapshot!r:.60}")
        asked, steps, observation, end, state = snapshot
        task = self._same_task(asked)
        if end is not None:
            self._task = task
            self._steps, self._observation, self._ended, self._is_broken = steps, observation, copied(end), False
            return observation, copied(end[2])
        if self._begun_task == task.id and not self._is_broken:
            self._task = task
        else:
            self._begin(task)
        self._steps, self._observation, self._ended, self._is_broken = steps, observation, None, True
        info = self._load(state)
        _, _, _, _, own = self._checked(observation, 0.0, False, False, info)
        self._is_broken = False
        return observation, own

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how a copy is made: pickle and deepcopy ask."""
        kept = {name: vars(self)[name] for name in _KEPT if name in vars(self)}
        point = None if self._task is None or self._is_broken else self.snapshot()
        return _copy, (type(self), *self._made_with, kept, point)

    def _same_task(self, task: Task) -> Task:
        """Return the task of another copy of the environment as it is here, where its place may be another one."""
        if self._task is not None and self._task.id == task.id:
            return self._task
        if task.index < len(self.tasks) and self.tasks[task.index].id == task.id:
            return self.tasks[task.index]  # in a list that is made bit by bit the id alone would be a long search
        return self.find_task(task.id)

    def _begin(self, task: Task) -> Any:
        """Let the subclass begin a task; where that fails, no episode is under way."""
        self._task, self._begun_task, self._ended = task, task.id, None
        self._steps, self._is_broken = 0, True
        try:
            return self._start(task)
        except BaseException:
            self._task = self._begun_task = None
            raise

    def _checked(self, observation: Any, reward: Any, terminated: Any, truncated: bool, info: Any) -> Moment:
        assert self._task is not None
        if not isinstance(info, dict):
            raise ContractError(f"info is {info!r:.60} ({type(info).__name__}), not a dictionary")
        whole = {"task_id": self._task.id, "task_type": self._task.type, **self._about, **info}
        return checked_moment((observation, reward, terminated, truncated, whole), self._task.id)


def _copy(
    kind: type[TextEnv], args: tuple[Any, ...], options: dict[str, Any], kept: dict[str, Any], point: Any
) -> TextEnv:
    """Make a copy of an environment; for pickle."""
    environment = kind(*args, **options)
    vars(environment).update(kept)
    if point is not None:
        environment.restore(point)
    return environment
