"""One session: OpenEnv's ``Environment`` over a supervised worker, with its Task API and our snapshots."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from fastapi import HTTPException
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import EnvironmentMetadata

from agentbench.integrations.openenv.models import TextAction, TextObservation, TextState
from agentbench.integrations.workers import Split
from agentbench.rollout.contract import WorkerFailure
from agentbench.rollout.pool import Home
from envs.base.errors import UserError
from envs.base.log import log
from envs.base.moment import Moment
from envs.base.version import __version__

KEPT = 64
"""So many snapshots a session keeps; the oldest makes room."""

ENDED = "a session has ended, and what it held is free"
"""What the log says then, at level debug."""

TOOLS = [
    {
        "name": "snapshot",
        "description": "Keep the present point of the episode on the server; returns its name.",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
    },
    {
        "name": "restore",
        "description": "Go back to a point that this session kept; returns the observation of that point.",
        "inputSchema": {
            "type": "object",
            "properties": {"snapshot": {"type": "string"}},
            "required": ["snapshot"],
            "additionalProperties": False,
        },
    },
]
"""The tools of ``/mcp``, the protocol's place for what it does not have itself."""


@dataclass(slots=True)
class _Standing:
    """Where a session stands; a model of pydantic is made of it when it is asked for, and not at every step."""

    split: str | None = None
    task_id: str | None = None
    episode_id: str | None = None
    steps: int = 0
    score: float = 0.0
    won: bool = False
    done: bool = False


class Session(Environment[TextAction, TextObservation, TextState]):  # type: ignore[misc]
    """One episode at a time. Making one costs nothing: a worker is taken at the first reset.

    Args:
        env: short name of the environment.
        splits: the sets of tasks, by name; the first is the default.
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = True
    in_loop: ClassVar[bool] = False

    def __init__(self, env: str, splits: Mapping[str, Split]) -> None:
        super().__init__()
        self._env, self._splits = env, splits
        self._split = next(iter(splits.values()))
        self._worker: Home | None = None
        self._standing = _Standing()
        self._random = np.random.default_rng()
        self._kept: dict[str, tuple[Split, Any, _Standing]] = {}
        self._snapshots, self._is_closed = 0, False
        self._lock = threading.Lock()
        self.mcp_client = Tools(self)

    # -- OpenEnv's Environment --------------------------------------------------------------------

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        task: str | None = None,
        **unknown: Any,
    ) -> TextObservation:
        """Begin an episode.

        Args:
            seed: draws the task, where neither ``index`` nor ``task`` names one, and what the environment draws.
            episode_id: comes back in the state.
            split: one of the served splits.
            index: of the task in the split, from 0.
            task: id or name of the task.

        Raises:
            UserError: an argument that is none of these, or of another kind.
            WorkerFailure: the environment failed; a reset begins anew.
        """
        if unknown:
            raise UserError(f"reset() knows seed, episode_id, split, index and task, not {sorted(unknown)[0]!r:.80}")
        _check("seed", seed, int)
        _check("index", index, int)
        _check("episode_id", episode_id, str)
        chosen = self._choose(split)
        place = self._place(chosen, index, task, seed)
        seed = int(self._random.integers(2**31)) if seed is None else seed
        with self._lock:
            self._use(chosen)
            moment = self._ask("reset", (chosen.tasks[place].id, seed))
            self._standing = _Standing(chosen.name, chosen.tasks[place].id, episode_id)
            return self._observation(moment, earned=False)

    def step(self, action: TextAction, timeout_s: float | None = None, **_: Any) -> TextObservation:
        """Carry out one action.

        Raises:
            UserError: there is no episode.
            WorkerFailure: the environment failed, and the episode is lost; a reset begins a new one.
        """
        with self._lock:
            if self._worker is None:
                raise UserError(self._no_episode())
            moment = self._ask("step", action.action)
            self._standing.steps += 1
            return self._observation(moment, earned=True)

    @property
    def state(self) -> TextState:
        """Where the session stands."""
        at = self._standing
        return TextState(
            environment=self._env,
            split=at.split,
            task_id=at.task_id,
            episode_id=at.episode_id,
            step_count=at.steps,
            score=at.score,
            won=at.won,
            done=at.done,
        )

    def get_metadata(self) -> EnvironmentMetadata:
        """Name, version and number of tasks."""
        counts = ", ".join(f"{name}: {len(split.tasks)} tasks" for name, split in self._splits.items())
        return EnvironmentMetadata(name=self._env, description=f"{self._env} by agentbench ({counts})",
                                   version=__version__)  # fmt: skip

    def close(self) -> None:
        """End the session, and free its worker; called again, it does nothing."""
        with self._lock:
            was_open, self._is_closed = not self._is_closed, True
            self._kept.clear()
            self._free()
        if was_open:
            log.debug(ENDED)

    # -- OpenEnv's Task API ------------------------------------------------------------------------

    def list_splits(self) -> list[dict[str, str]]:
        """Return the served splits."""
        return [{"name": name, "type": _kind_of_split(name)} for name in self._splits]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return the tasks of a split: id, name, type, index."""
        return self.get_task_range(split)

    def num_tasks(self, split: str) -> int:
        """Return the number of tasks of a split."""
        return len(self._listed(split).tasks)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return one task of a split; raises IndexError, which is OpenEnv's way, for an index that is none."""
        tasks = self._listed(split).tasks
        if not 0 <= index < len(tasks):
            raise IndexError(f"index {index} of {len(tasks)} tasks")
        return self.get_task_range(split, index, index + 1)[0]

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """Return the tasks ``start`` to ``stop`` of a split, as a slice of a list."""
        tasks = self._listed(split).tasks
        places = range(*slice(start, stop).indices(len(tasks)))
        return [{"id": tasks[i].id, "name": tasks[i].name, "type": tasks[i].type, "index": i} for i in places]

    # -- our snapshots -----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, str]:
        """Keep the present point of the episode; the value stays here, the client gets its name."""
        with self._lock:
            if self._worker is None:
                raise UserError(self._no_episode())
            self._snapshots += 1
            name = f"snapshot-{self._snapshots}"
            self._kept[name] = (self._split, self._ask("snapshot", None), copy(self._standing))
            if len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
            return {"snapshot": name}

    def restore(self, snapshot: str) -> dict[str, Any]:
        """Go back to a kept point; the observation has reward 0, and later rewards are as they would have been."""
        with self._lock:
            if snapshot not in self._kept:
                raise UserError(f"this session keeps no snapshot {snapshot!r:.80}: it keeps the last {KEPT}")
            split, point, standing = self._kept[snapshot]
            self._use(split)
            moment = self._ask("restore", point)
            self._standing = copy(standing)
            observation = self._observation(moment, earned=False)
            return {
                "observation": observation.model_dump(exclude={"reward", "done"}),
                "reward": observation.reward,
                "done": observation.done,
            }

    # -- inside ------------------------------------------------------------------------------------

    def _choose(self, split: str | None) -> Split:
        if split is None:
            return self._split
        if not isinstance(split, str) or split not in self._splits:
            raise UserError(f"no split {split!r:.80} is served here: there is {', '.join(self._splits)}")
        return self._splits[split]

    def _listed(self, split: str) -> Split:
        try:
            return self._choose(split)
        except UserError as error:
            raise HTTPException(404, str(error)) from error

    def _place(self, split: Split, index: int | None, task: str | None, seed: int | None) -> int:
        count = len(split.tasks)
        if index is not None and task is not None:
            raise UserError("reset() takes index or task, not both")
        if index is not None:
            if not 0 <= index < count:
                raise UserError(f"index {index} is none of the {count} tasks of split {split.name}: 0 to {count - 1}")
            return index
        if task is not None:
            if not isinstance(task, str) or task not in split.places:
                raise UserError(f"split {split.name} has no task {task!r:.80}")
            return split.places[task]
        draw = self._random if seed is None else np.random.default_rng(seed)
        return int(draw.integers(count))

    def _use(self, split: Split) -> None:
        """Have a worker of this split."""
        if self._is_closed:
            raise UserError(self._no_episode())
        if split is not self._split:
            self._free()
        self._split = split
        if self._worker is None:
            self._worker = split.take()

    def _free(self) -> None:
        if self._worker is not None:
            self._split.give_back(self._worker)
        self._worker = None

    def _ask(self, command: str, arguments: Any) -> Any:
        assert self._worker is not None
        try:
            return self._split.ask(self._worker, command, arguments)
        except WorkerFailure:
            self._worker = None
            raise

    def _no_episode(self) -> str:
        if self._is_closed:
            return "this session is closed, perhaps for having been idle: connect again"
        return "there is no episode: send a reset first (over /ws: requests by HTTP have no session)"

    def _observation(self, moment: Moment, *, earned: bool) -> TextObservation:
        text, _, terminated, truncated, info = moment
        at, score = self._standing, float(info["score"])
        before, at.score, at.won, at.done = at.score, score, bool(info["won"]), bool(terminated or truncated)
        return TextObservation(
            text=text,
            instruction=info["instruction"],
            admissible_actions=info["admissible_actions"],
            is_valid=info["is_valid"],
            truncated=truncated,
            score=score,
            won=info["won"],
            task_id=info["task_id"],
            task_type=info["task_type"],
            reward=score - before if earned else 0.0,
            done=at.done,
        )


class InlineSession(Session):
    """A session whose environment plays in this process, in the thread of the event loop.

    A thread for every session would only hand Python's lock around: without them a step costs half the time.
    """

    in_loop: ClassVar[bool] = True

    async def reset_async(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
        task: str | None = None,
        **unknown: Any,
    ) -> TextObservation:
        """Begin an episode: see :meth:`Session.reset`."""
        return self.reset(seed, episode_id, split, index, task, **unknown)

    async def step_async(self, action: TextAction, timeout_s: float | None = None, **_: Any) -> TextObservation:
        """Carry out one action: see :meth:`Session.step`."""
        return self.step(action)


class Tools:
    """The snapshots of a session as tools, in the form in which OpenEnv's server asks for tools."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def is_connected(self) -> bool:
        """There is nothing to connect to."""
        return True

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the two tools."""
        return TOOLS

    async def call_tool(self, name: str, arguments: Any) -> dict[str, Any]:
        """Call one of them; what is wrong is raised, and becomes the error of the call."""
        arguments = arguments or {}
        call: Callable[[], dict[str, Any]]
        if name == "snapshot" and arguments == {}:
            call = self._session.snapshot
        elif name == "restore" and isinstance(arguments, dict) and list(arguments) == ["snapshot"]:
            call = functools.partial(self._session.restore, str(arguments["snapshot"]))
        else:
            raise UserError(f"there is no tool {name!r:.80} with these arguments: snapshot() and restore(snapshot)")
        return call() if self._session.in_loop else await asyncio.to_thread(call)

    async def __aenter__(self) -> Tools:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def _check(name: str, value: Any, kind: type) -> None:
    is_kind = isinstance(value, kind) and not isinstance(value, bool)
    if value is not None and not (is_kind and (kind is str or 0 <= value < 2**63)):
        should_be = "a text" if kind is str else "a whole number of at least 0"
        raise UserError(f"{name} is {should_be}, not {value!r:.80}")


def _kind_of_split(name: str) -> str:
    return "train" if "train" in name else "test" if "test" in name else "validation"
