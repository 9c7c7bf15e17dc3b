"""The environments behind the sessions of others: supervised processes, kept from one session to the next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from agentbench.rollout.contract import Recipe, WorkerFailure
from agentbench.rollout.pool import Home, Workers, replies_of
from envs.base.errors import UserError
from envs.contract import Task
from envs.registry import find, make, read_options


class Split:
    """One set of tasks, and the workers that play it; safe to use from several threads.

    Args:
        env: short name of the environment.
        options: of the environment, with the split.
        limit: most workers at the same time; None: as many as are taken.
        inline: environments in this process, without supervision.
        step_timeout, start_timeout: seconds that an answer, and the start of a worker, may take.
    """

    def __init__(
        self,
        env: str,
        options: dict[str, Any],
        *,
        limit: int | None = None,
        inline: bool = False,
        step_timeout: float = 60.0,
        start_timeout: float = 120.0,
    ) -> None:
        environment = make(env, **options)
        try:
            self.env, self.name = env, str(options.get("split") or environment.split)
            self.protected, self.digest = environment.protected, environment.digest
            self.tasks: Sequence[Task] = environment.tasks
            self.places = {key: task.index for task in environment.tasks for key in (task.id, task.name)}
        finally:
            environment.close()
        self.limit, self.inline = limit, inline
        self.step_timeout, self.start_timeout = step_timeout, start_timeout
        self._recipe = Recipe(find(env), read_options(env, options))
        self._workers = Workers(self._recipe, inline=inline, start_timeout=start_timeout)
        self._lock, self._taken = threading.Lock(), set[Home]()

    def take(self) -> Home:
        """Return a worker that is ready to be asked.

        Raises:
            UserError: all are in use.
            WorkerFailure: it could not be started.
        """
        with self._lock:
            if self.limit is not None and len(self._taken) >= self.limit:
                raise UserError(f"all {self.limit} environments are in use: end a session, or raise --max-sessions")
            home = self._workers.take()
            self._taken.add(home)
        if not home.slots:
            home.slots = 1
            self._ask(home, "make", self._recipe.order, self.start_timeout)
        return home

    def give_back(self, home: Home) -> None:
        """Keep a worker that nobody waits for."""
        with self._lock:
            if home in self._taken:
                self._taken.discard(home)
                self._workers.give_back(home)

    def ask(self, home: Home, command: str, arguments: Any) -> Any:
        """Ask a worker, and wait for its answer.

        Raises:
            WorkerFailure: it hung, died, or its environment raised; the worker is gone.
        """
        return self._ask(home, command, arguments, self.step_timeout)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            for home in self._taken:
                self._workers.discard(home)
            self._taken.clear()
            self._workers.__exit__()

    def _ask(self, home: Home, command: str, arguments: Any, timeout: float) -> Any:
        """Ask for something; the one environment of a worker is in its first slot."""
        try:
            home.worker.request(0, command, arguments)
            home.worker.send()
            replies = replies_of(home.worker, timeout)
            if not replies:
                raise WorkerFailure(f"the environment did not answer within {timeout:g} seconds")
            if replies[0].fault is not None:
                raise WorkerFailure(replies[0].fault)
            return replies[0].value
        except WorkerFailure:
            with self._lock:
                if home in self._taken:
                    self._taken.discard(home)
                    self._workers.discard(home)
            raise
