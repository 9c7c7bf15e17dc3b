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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import psutil

from agentbench.rollout.worker import play_command
from envs.base.errors import unknown
from envs.registry import Environment

MEGABYTE = 1024 * 1024

LOSSES = 10
"""So often in a row what is started (each worker, an engine, a server) may be lost with its machine."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a worker makes its environment.

    Attributes:
        environment: the entry of the list of environments.
        options: keyword arguments of its class.
    """

    environment: Environment
    options: dict[str, Any]


class WorkerFailure(Exception):  # noqa: N818  (a failure of the infrastructure, told apart from errors in our code)
    """A worker died, hung, grew too large, or its environment raised; the text says which."""


class MachineFailure(WorkerFailure):
    """A worker was lost with the machine that it was on, or is out of reach and nobody knows why."""


class Worker(Protocol):
    """One environment that is asked and answers.

    A request is sent with :meth:`request`; its reply is taken with :meth:`receive` once the worker is among
    those that :func:`ready` returns.

    Attributes:
        deadline: ``time.monotonic()`` by which the reply must be there.
        seconds: that the environment took for the latest reply; how long the reply then lay here is not in it.
        connection: has a ``fileno()`` that is readable when the reply is there; None: it is always there.
    """

    deadline: float
    seconds: float
    connection: Any

    def request(self, command: str, arguments: Any, timeout: float) -> None:
        """Send a command whose reply must come within ``timeout`` seconds."""

    def receive(self) -> Any:
        """Take the reply.

        Raises:
            WorkerFailure: there is none, or the environment raised; the worker must be replaced.
        """

    def memory(self) -> float:
        """Return the MB of resident memory that are this worker's own."""

    def kill(self) -> None:
        """End it at once and free what it held."""


class LocalWorker:
    """An environment in this process: no copying, no supervision. For environments of ours that cannot hang."""

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


Launch = Callable[[Recipe, float], Worker]
"""Starts a worker that has the given seconds to make its environment, and does not wait for it."""


def launcher(executor: str) -> Launch:
    """Return what starts workers: ``local`` (processes of this machine), ``ray``, or ``ray:ADDRESS`` (a cluster).

    Raises:
        UserError: there is no such executor, or the cluster cannot be used.
    """
    name, _, address = executor.partition(":")
    if name == "ray":
        from agentbench.cluster.machines import connect

        return connect(address)
    if executor != "local":
        raise unknown("executor", executor, ("local", "ray", "ray:HOST:PORT"))
    return ProcessWorker


class Workers:
    """The workers of one recipe, kept from one rollout to the next. Use it as a context manager.

    Args:
        recipe: how each makes its environment.
        inline: environments in this process instead of processes of their own.
        start_timeout: seconds in which a process must have made its environment.
        launch: starts a process: see :func:`launcher`.
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
