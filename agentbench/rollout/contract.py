"""The contract of workers: how their environments are made, what they are asked, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from envs.registry import Environment

MEGABYTE = 1024 * 1024

LOSSES = 10
"""So often in a row what is started (each worker, an engine, a server) may be lost with its machine."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a worker makes its environments.

    Attributes:
        environment: the entry of the list of environments.
        options: keyword arguments of its class.
    """

    environment: Environment
    options: dict[str, Any]

    @property
    def order(self) -> tuple[list[str], str, dict[str, Any]]:
        """What a worker needs to know to make one: import path, entry point, options."""
        return sys.path, self.environment.entry_point, self.options


class WorkerFailure(Exception):  # noqa: N818  (a failure of the infrastructure, not an error in our code)
    """A worker died, hung, grew too large, or its environment raised; the text says which."""


class MachineFailure(WorkerFailure):
    """A worker was lost with the machine that it was on, or is out of reach and nobody knows why."""


class Reply(NamedTuple):
    """The answer of one environment.

    Attributes:
        slot: the environment's number in its worker.
        fault: why there is no value (its environment raised); None: all went well.
        value: what the command gave.
        seconds: that the environment took.
    """

    slot: int
    fault: str | None
    value: Any
    seconds: float


class Worker(Protocol):
    """A process (or this one) that hosts any number of environments, each in a numbered *slot*.

    Requests are noted with :meth:`request` and go out together with :meth:`send`; a worker that is busy gets them once
    it has answered all that it was sent. Replies are taken with :meth:`receive` when ``connection`` is readable.

    Attributes:
        connection: has a ``fileno()`` that is readable when replies are there, or when the worker is dead; None: it
            works when it is asked for replies, in this process.
    """

    connection: Any

    def request(self, slot: int, command: str, arguments: Any) -> None:
        """Note a command: ``make`` (first of all), ``reset``, ``step``, ``snapshot``, ``restore`` or ``close``.

        Each but ``close`` is answered by one reply.
        """

    def send(self) -> None:
        """Send what is noted, if the worker waits for work."""

    def receive(self, seconds: float = float("inf")) -> list[Reply]:
        """Take the replies that are there.

        Args:
            seconds: that a worker without ``connection`` may work for them, one reply at least.

        Raises:
            WorkerFailure: there will be none any more; the worker must be replaced.
        """

    def busy(self) -> tuple[int | None, float] | None:
        """Return which slot is at work and since when (``time.monotonic()``); None: no reply is awaited.

        The slot is None where nothing is known to have begun: the time is then that of the latest sign of life.
        """

    def memory(self) -> float:
        """Return the MB of resident memory that are this worker's own."""

    def kill(self) -> None:
        """End it at once and free what it held."""


Launch = Callable[[Recipe, float], Worker]
"""Starts a worker for environments of a recipe, and does not wait for it.

The seconds are those that its start may take; whoever asks for it supervises them."""
