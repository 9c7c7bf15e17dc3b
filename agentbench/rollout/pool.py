"""Workers: processes with a deadline and a memory bound, or environments in this process where speed is all.

All kinds take one request at a time and answer it: ``make``, ``reset`` or ``step``. Processes run on this machine, or
as actors of a Ray cluster (:mod:`agentbench.cluster.machines`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from agentbench.rollout.contract import MEGABYTE, Launch, Recipe, Worker, WorkerFailure
from agentbench.rollout.worker import play_command


class LocalWorker:
    """An environment in this process: no copying, no supervision. For our own environments, which cannot hang."""

    connection = None

    def __init__(self, recipe: Recipe) -> None:
        self.deadline = float("inf")
        self.seconds = 0.0
        self._environment = recipe.environment.load()(**recipe.options)
        self._asked: tuple[str, Any] = ("", None)

    def request(self, command: str, arguments: Any, timeout: float) -> None:
        """Note the command; ``timeout`` cannot be enforced here."""
        self._asked = (command, arguments)

    def receive(self) -> Any:
        """Carry the last request out: only now, so that whoever is first need not wait for the work of all others."""
        begun = time.monotonic()
        try:
            return play_command(self._environment, *self._asked)
        except Exception as error:
            raise WorkerFailure(f"the environment failed: {type(error).__name__}: {error}") from error
        finally:
            self.seconds = time.monotonic() - begun

    def memory(self) -> float:
        """Return 0: it has no memory of its own."""
        return 0.0

    def kill(self) -> None:
        """Close the environment."""
        self._environment.close()


class ProcessWorker:
    """One supervised process with one environment."""

    def __init__(self, recipe: Recipe, start_timeout: float) -> None:
        ours, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentbench.rollout.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
        self.connection = Connection(ours.detach())
        self.deadline = float("inf")
        self.seconds = 0.0
        environment = recipe.environment
        self.request("make", (sys.path, environment.entry_point, recipe.options), start_timeout)

    def request(self, command: str, arguments: Any, timeout: float) -> None:
        """Send a command; :meth:`receive` says so if the process is dead."""
        self.deadline = time.monotonic() + timeout
        # A dead worker's closed pipe makes it ready, and receive() says why it died.
        with contextlib.suppress(OSError):
            self.connection.send((command, arguments))

    def receive(self) -> Any:
        """Take the reply, or say why there is none."""
        self.deadline = float("inf")
        try:
            status, reply, self.seconds = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerFailure(f"the worker process died ({self._cause()})") from error
        except Exception as error:  # a stranger's object that cannot be made here
            raise WorkerFailure(f"its answer cannot be read here: {type(error).__name__}: {error}") from error
        if status != "ok":
            # Nobody knows what state the environment was left in: a fresh one is the only safe way on.
            raise WorkerFailure(f"the environment failed: {reply}")
        return reply

    def memory(self) -> float:
        """Return the process's resident memory in MB (0 if it is gone)."""
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / MEGABYTE
        except psutil.Error:
            return 0.0

    def kill(self) -> None:
        """End the process at once and free what it held."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        self._stderr.close()

    def _cause(self) -> str:
        try:
            code: int | str = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = "still running"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}" + (f": {lines[-1]}" if lines else "")


class Workers:
    """The workers of one recipe, kept from one rollout to the next. Use it as a context manager.

    Args:
        recipe: how each makes its environment.
        inline: environments in this process instead of processes of their own.
        start_timeout: seconds in which a process must have made its environment.
        launch: starts a process: see :func:`agentbench.cluster.launch.launcher`.
    """

    def __init__(
        self, recipe: Recipe, *, inline: bool = False, start_timeout: float = 120.0, launch: Launch = ProcessWorker
    ) -> None:
        self.recipe, self.inline, self.start_timeout, self._launch = recipe, inline, start_timeout, launch
        self._idle: list[Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._idle:
            worker.kill()
        self._idle.clear()

    def take(self) -> tuple[Worker, bool]:
        """Return a worker, and whether it still has to answer that it has started."""
        if self._idle:
            return self._idle.pop(), False
        if self.inline:
            return LocalWorker(self.recipe), False
        return self._launch(self.recipe, self.start_timeout), True

    def give_back(self, worker: Worker) -> None:
        """Keep an idle worker for the next rollout."""
        self._idle.append(worker)


def ready(workers: Iterable[Worker], timeout: float, also: Any = None) -> list[Worker]:
    """Wait until a worker has a reply or has died, at most ``timeout`` seconds; return all such.

    Args:
        workers: those that were asked.
        timeout: seconds.
        also: something else with a ``fileno()`` that ends the waiting when it is readable.
    """
    local, processes = [], {}
    for worker in workers:
        if worker.connection is None:
            local.append(worker)
        else:
            processes[worker.connection] = worker
    if local:
        timeout = 0.0
    awaited: list[Any] = list(processes)
    if also is not None:
        awaited.append(also)
    found = wait(awaited, timeout)
    return [*local, *(processes[each] for each in found if each is not also)]
