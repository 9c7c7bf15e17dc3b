"""The contract of workers: how their environment is made, what they are asked, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

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


class WorkerFailure(Exception):  # noqa: N818  (a failure of the infrastructure, not an error in our code)
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


Launch = Callable[[Recipe, float], Worker]
"""Starts a worker that has the given seconds to make its environment, and does not wait for it."""
