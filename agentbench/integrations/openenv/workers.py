"""The environments behind the sessions: supervised processes, kept from one session to the next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from agentbench.rollout.contract import Recipe, Worker, WorkerFailure
from agentbench.rollout.pool import Workers, ready
from envs.base.errors import UserError
from envs.contract import Task
from envs.registry import find, make, read_options


class Split:
    """One set of tasks, and the workers that play it; safe to use from several threads.

    Args:
        env: short name of the environment.
        options: of the environment, with the split.
        limit: most workers at the same time.
        inline: environments in this process, without supervision.
        step_timeout, start_timeout: seconds that an answer, and the start of a worker, may take.
    """

    def __init__(
        self,
        env: str,
        options: dict[str, Any],
        *,
        limit: int,
        inline: bool = False,
        step_timeout: float = 60.0,
        start_timeout: float = 120.0,
    ) -> None:
        environment = make(env, **options)
        try:
            self.name = str(options.get("split") or environment.split)
            self.tasks: Sequence[Task] = environment.tasks
            self.places = {key: task.index for task in environment.tasks for key in (task.id, task.name)}
        finally:
            environment.close()
        self.limit, self.step_timeout, self.start_timeout = limit, step_timeout, start_timeout
        recipe = Recipe(find(env), read_options(env, options))
        self._workers = Workers(recipe, inline=inline, start_timeout=start_timeout)
        self._lock, self._taken = threading.Lock(), set[Worker]()

    def take(self) -> Worker:
        """Return a worker that is ready to be asked.

        Raises:
            UserError: all are in use.
            WorkerFailure: it could not be started.
        """
        with self._lock:
            if len(self._taken) >= self.limit:
                raise UserError(f"all {self.limit} environments are in use: end a session, or raise --max-sessions")
            worker, is_new = self._workers.take()
            self._taken.add(worker)
        if is_new:
            self._answer(worker, self.start_timeout)
        return worker

    def give_back(self, worker: Worker) -> None:
        """Keep a worker that nobody waits for."""
        with self._lock:
            if worker in self._taken:
                self._taken.discard(worker)
                self._workers.give_back(worker)

    def ask(self, worker: Worker, command: str, arguments: Any) -> Any:
        """Ask a worker, and wait for its answer.

        Raises:
            WorkerFailure: it hung, died, or its environment raised; the worker is gone.
        """
        worker.request(command, arguments, self.step_timeout)
        return self._answer(worker, self.step_timeout)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            for worker in self._taken:
                worker.kill()
            self._taken.clear()
            self._workers.__exit__()

    def _answer(self, worker: Worker, timeout: float) -> Any:
        try:
            if not ready([worker], timeout):
                raise WorkerFailure(f"the environment did not answer within {timeout:g} seconds")
            return worker.receive()
        except WorkerFailure:
            with self._lock:
                if worker in self._taken:
                    self._taken.discard(worker)
                    worker.kill()
            raise
