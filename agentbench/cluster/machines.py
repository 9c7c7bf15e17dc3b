"""Workers as actors of a Ray cluster: the same requests and replies, on whichever of its machines has room.

A worker that hangs is killed, and one whose machine is gone counts as dead, just as a process of this machine does; its
episode is played again elsewhere. Its memory is known as of its latest reply, so growth within a step is only noticed
when the step ends, or by its deadline.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any

import psutil

from agentbench.rollout.contract import MEGABYTE, Launch, MachineFailure, Recipe, Reply, WorkerFailure
from agentbench.rollout.pool import reply_of
from agentbench.worker.host import Answer, Host, begins
from envs.base.errors import UserError
from envs.base.extras import how_to_install
from envs.base.safe_text import redacted

ANSWER_SECONDS = 5.0
"""Time that the machine of an address has to accept a connection."""

TOKEN = "set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN or ~/.ray/auth_token to what its machines have"


class RemoteHost(Host):
    """The environments of one actor; its replies say how much memory its process uses."""

    def reply(self, slot: int, command: str, arguments: Any) -> tuple[Answer, float]:
        """Carry a command out: what :meth:`Host.answer` returns, and MB of memory."""
        if command == "make":
            path, entry_point, options = arguments
            # The other machine has import paths of its own: ours come behind them.
            arguments = [*sys.path, *(each for each in path if each not in sys.path)], entry_point, options
        return self.answer(slot, command, arguments), psutil.Process().memory_info().rss / MEGABYTE


class RayWorker:
    """One actor with its environments: a call each command, answered in their order."""

    def __init__(self, recipe: Recipe, start_timeout: float) -> None:
        import ray

        # A CPU is needed to be placed and none is held: an environment is idle while the policy thinks, and what is
        # left of a cluster must be able to take over the workers of a machine that died.
        placed = ray.remote(RemoteHost).options(scheduling_strategy="SPREAD", max_restarts=0)
        self._actor = placed.remote()
        self.connection, self._waker = socket.socketpair()
        self.connection.setblocking(False)
        self._noted: list[tuple[int, str, Any]] = []
        self._calls: deque[tuple[int, float, Future[tuple[Answer, float]]]] = deque()
        self._answered = time.monotonic()
        self._memory = 0.0

    def request(self, slot: int, command: str, arguments: Any) -> None:
        """Note a command for the next :meth:`send`."""
        self._noted.append((slot, command, arguments))

    def send(self) -> None:
        """Send what is noted; :meth:`receive` says so if the actor is dead."""
        for slot, command, arguments in sorted(self._noted, key=begins):
            if command == "close":
                self._actor.close.remote(slot)
                continue
            answer = self._actor.reply.remote(slot, command, arguments).future()
            self._calls.append((slot, time.monotonic(), answer))
            answer.add_done_callback(self._wake)
        self._noted.clear()

    def receive(self, seconds: float = 0.0) -> list[Reply]:
        """Take the replies that are there, or say why there will be none."""
        import ray

        with contextlib.suppress(BlockingIOError):
            self.connection.recv(4096)
        replies: list[Reply] = []
        while self._calls and self._calls[0][2].done():
            try:
                answered, self._memory = self._calls[0][2].result()
            except ray.exceptions.RayError as error:
                if replies:  # first what was answered before; the failure comes next
                    self._wake(None)
                    break
                kind = MachineFailure if is_of_machine(error) else WorkerFailure
                raise kind(f"the Ray actor died ({beginning_of(error)})") from error
            self._calls.popleft()
            replies.append(reply_of(answered))
        return replies

    def busy(self) -> tuple[int | None, float] | None:
        """Return the slot of the oldest call, which is at work, and when it can have begun at the earliest."""
        if not self._calls:
            return None
        slot, sent, answer = self._calls[0]
        return (None, self._answered) if answer.done() else (slot, max(sent, self._answered))

    def memory(self) -> float:
        """Return the MB of resident memory that the actor's process had at its latest reply."""
        return self._memory

    def kill(self) -> None:
        """End the actor at once, also one that waits for a place."""
        import ray

        ray.kill(self._actor)
        self.connection.close()
        self._waker.close()

    def _wake(self, _: Future[Any] | None) -> None:
        self._answered = time.monotonic()
        with contextlib.suppress(OSError):  # killed meanwhile: nobody waits
            self._waker.send(b"\0")


def is_of_machine(error: Exception) -> bool:
    """Return whether an actor was lost with its node, as far as is known; Ray names the node in the text alone.

    It takes Ray some fifteen seconds to declare a node dead. Until then an actor that was on it is out of reach, and
    one that is new is placed on it still: neither says anything about what runs in the actor. An actor whose process
    alone died may be called out of reach too, where the news of its death come late.
    """
    import ray

    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return True
    return any(not node["Alive"] and node["NodeID"] in str(error) for node in ray.nodes())


def beginning_of(error: Exception) -> str:
    """Return the beginning of an error's text, without secrets, on one line."""
    return " ".join(redacted(str(error)).split())[:300]


def connect(address: str) -> Launch:
    """Join a Ray cluster and return what starts a worker in it.

    Args:
        address: ``HOST:PORT`` of its head; empty for the one that ``RAY_ADDRESS`` names or that runs on this machine,
            and where there is none, for one of this machine alone that ends with this process.

    Raises:
        UserError: Ray is not installed, no cluster answers, its versions differ from ours, or it has no CPUs.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"executor 'ray' needs a package that is not installed: {how_to_install('ray')}") from error
    where = f"the Ray cluster at {address}" if address else "the Ray cluster"
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        if address and not _is_same(address, joined):
            raise UserError(f"this process has joined the Ray cluster at {joined} already and cannot join {address}")
    else:
        if address:
            _check_answers(address)
        kept = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address or None, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # of many classes: no cluster, other versions, no room for its files
            if "AuthToken" in f"{error} {error.__cause__}":
                raise UserError(f"{where} asks for a token: {TOKEN}") from error
            raise UserError(f"{where} cannot be joined: {beginning_of(error)}") from error
        finally:  # Ray's own would end this process before what is finished is stored
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, kept)
    if ray.cluster_resources().get("CPU", 0) < 1:
        raise UserError(f"{where} has no CPU for a worker: start its machines with --num-cpus of at least 1")
    return RayWorker


def _is_same(address: str, joined: str) -> bool:
    """Is an address that of the cluster's head? Ray writes an IP address for a name and for 127.0.0.1."""
    (host, _, port), (ip, _, joined_port) = address.rpartition(":"), joined.rpartition(":")
    try:
        named = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return port == joined_port and any(each in (ip, "::1") or each.startswith("127.") for each in named)


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{address!r} is no address of a Ray cluster: write ray:HOST:PORT, or just ray")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): start one with 'ray start --head', or fix the address"
        ) from error
