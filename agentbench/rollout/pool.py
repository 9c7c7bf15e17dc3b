"""Supervised worker processes: each has a deadline and a memory bound, and is replaced when it breaks one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from envs.registry import Environment

MEGABYTE = 1024 * 1024


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


class Worker:
    """One worker process with one environment.

    A request is sent with :meth:`request`; its reply is taken with :meth:`receive` once the worker is among
    those that :func:`ready` returns.
    """

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
        self.broken = False
        environment = recipe.environment
        self.request("make", (sys.path, environment.entry_point, recipe.options), start_timeout)

    def request(self, command: str, arguments: Any, timeout: float) -> None:
        """Send a command whose reply must come within ``timeout`` seconds."""
        self.deadline = time.monotonic() + timeout
        # A dead worker's closed pipe makes it ready, and receive() says why it died.
        with contextlib.suppress(OSError):
            self.connection.send((command, arguments))

    def receive(self) -> Any:
        """Take the reply.

        Raises:
            WorkerFailure: there is none (the worker must be replaced), or the environment raised.
        """
        self.deadline = float("inf")
        try:
            status, reply = self.connection.recv()
        except (EOFError, OSError) as error:
            self.broken = True
            raise WorkerFailure(f"the worker process died ({self._cause()})") from error
        if status != "ok":
            # Nobody knows what state the environment was left in: a fresh one is the only safe way on.
            self.broken = True
            raise WorkerFailure(f"the environment failed: {reply}")
        return reply

    def memory(self) -> float:
        """Return the process's resident memory in MB (0 if it is gone)."""
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / MEGABYTE
        except psutil.Error:
            return 0.0

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

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


def ready(workers: Iterable[Worker], timeout: float) -> list[Worker]:
    """Wait until a worker has a reply or has died, at most ``timeout`` seconds; return all such."""
    by_connection = {worker.connection: worker for worker in workers}
    return [by_connection[found] for found in wait(list(by_connection), timeout)]  # type: ignore[index]
