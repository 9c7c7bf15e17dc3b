"""Workers: processes with deadlines and a memory bound, or environments in this process where speed is all.

Every worker hosts any number of environments, and answers ``make``, ``reset`` and ``step`` of each. Processes run on
this machine, or as actors of a Ray cluster (:mod:`agentbench.cluster.machines`).
"""

from __future__ import annotations

import contextlib
import pickle
import selectors
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

import psutil

from agentbench.rollout.contract import MEGABYTE, Launch, Recipe, Reply, Worker, WorkerFailure
from agentbench.rollout.nursery import Nursery, told
from agentbench.worker.frames import Channel, Page
from agentbench.worker.host import Answer, Host, begins

FAILED = "the environment failed"


class LocalWorker:
    """Environments in this process: no copying, no supervision. For our own environments, which cannot hang.

    Requests are carried out by :meth:`receive`: episodes under way first, and no more than fit into a moment.
    """

    connection = None

    def __init__(self) -> None:
        self._host = Host()
        self._steps: deque[tuple[int, str, Any]] = deque()
        self._begins: deque[tuple[int, str, Any]] = deque()

    def request(self, slot: int, command: str, arguments: Any) -> None:
        """Note a command."""
        if command == "close":
            self._host.close(slot)
            return
        request = slot, command, arguments
        (self._begins if begins(request) else self._steps).append(request)

    def send(self) -> None:
        """There is nobody to send to."""

    def receive(self, seconds: float = float("inf")) -> list[Reply]:
        """Carry out what was requested, until that many seconds have passed; the rest stays for the next time."""
        end = time.monotonic() + seconds
        replies: list[Reply] = []
        while (self._steps or self._begins) and (not replies or time.monotonic() < end):
            request = (self._steps or self._begins).popleft()
            replies.append(reply_of(self._host.answer(*request)))
        return replies

    def busy(self) -> tuple[int | None, float] | None:
        """Return whether there is work, which nobody supervises."""
        return (None, float("inf")) if self._steps or self._begins else None

    def memory(self) -> float:
        """Return 0: it has no memory of its own."""
        return 0.0

    def kill(self) -> None:
        """Close the environments."""
        self._host.close_all()


class ProcessWorker:
    """One supervised process with its environments.

    Args:
        recipe: how they are made.
        start_timeout: not looked at here: see :data:`agentbench.rollout.contract.Launch`.
        nursery: where it comes from; None for one of its own.
    """

    def __init__(self, recipe: Recipe, start_timeout: float, nursery: Nursery | None = None) -> None:
        self._nursery = nursery or Nursery(recipe.environment.entry_point)
        self._is_only_child = nursery is None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as page:
            page.truncate(Page.SIZE)
            self._page = Page(page.fileno())
            self._page.write(-1, time.monotonic())
            self._nursery.start(theirs, page, self._errors)
        self.connection = Channel(ours)
        self.connection.give_up_on_stopped()
        self._noted: list[tuple[int, str, Any]] = []
        self._awaited = 0
        self._process: psutil.Process | None = None
        self._heard = time.monotonic()

    def request(self, slot: int, command: str, arguments: Any) -> None:
        """Note a command for the next :meth:`send`."""
        self._noted.append((slot, command, arguments))

    def send(self) -> None:
        """Send what is noted, if all that was sent is answered; :meth:`receive` says so if the process is dead."""
        if not self._noted or self._awaited:
            return
        self._awaited = sum(command != "close" for _, command, _ in self._noted)
        self._heard = time.monotonic()
        # A dead worker's closed socket makes it ready, and receive() says why it died.
        with contextlib.suppress(OSError):
            self.connection.send(self._noted)
        self._noted = []

    def receive(self, seconds: float = 0.0) -> list[Reply]:
        """Take the replies that are there, or say why there will be none."""
        try:
            frames = self.connection.take()
        except (EOFError, OSError) as error:
            raise WorkerFailure(f"the worker process died ({self._cause()})") from error
        self._heard = time.monotonic()
        if self._process is None and frames:
            with contextlib.suppress(psutil.Error):  # dead already: the next look finds out
                self._process = psutil.Process(frames[0])
            frames = frames[1:]
        replies = [_unpacked(*answer) for answers in frames for answer in answers]
        self._awaited -= len(replies)
        return replies

    def busy(self) -> tuple[int | None, float] | None:
        """Return which slot is at work and since when, as the worker itself has written it down."""
        if not self._awaited:
            return None
        slot, since = self._page.read()
        return (None, self._heard) if slot < 0 else (slot, since)

    def memory(self) -> float:
        """Return the process's resident memory in MB (0 if it is gone, or has not begun)."""
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                return float(self._process.memory_info().rss) / MEGABYTE
        return 0.0

    def kill(self) -> None:
        """End the process at once and free what it held."""
        self.connection.close()
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                self._process.kill()
            self._nursery.wait(self._process.pid)
        if self._is_only_child or (self._process is None and not self._nursery.is_ready):
            self._nursery.close()  # one that does not get ready is of no use to others either
        self._page.close()
        self._errors.close()

    def _cause(self) -> str:
        if self._process is None:
            return self._nursery.cause()
        return told(self._nursery.wait(self._process.pid), self._errors)


def reply_of(answer: Answer) -> Reply:
    """Return an environment's answer as a reply; where it raised, nobody knows what state it was left in."""
    slot, fault, value, seconds = answer
    return Reply(slot, None, value, seconds) if fault is None else Reply(slot, f"{FAILED}: {fault}", None, seconds)


def _unpacked(slot: int, fault: str | None, content: bytes, seconds: float) -> Reply:
    reply = reply_of((slot, fault, content, seconds))
    if fault is not None:
        return reply
    try:
        return reply._replace(value=pickle.loads(content))
    except Exception as error:  # a stranger's object that cannot be made here
        return Reply(slot, f"its answer cannot be read here: {type(error).__name__}: {error}", None, seconds)


@dataclass(slots=True, eq=False)
class Home:
    """A worker and its environments.

    Attributes:
        free: slots whose environment is made and idle.
        slots: numbers given to slots so far.
        seats: whoever plays in a slot, by its number.
        is_fresh: until an episode has begun in it.
        is_alone: no more than one episode plays in it at a time.
        is_leaving: no more episodes begin in it.
        most: MB of memory at which it begins to leave.
    """

    worker: Worker
    free: list[int] = field(default_factory=list)
    slots: int = 0
    seats: dict[int, Any] = field(default_factory=dict)
    is_fresh: bool = True
    is_alone: bool = False
    is_leaving: bool = False
    most: float = float("inf")


class Workers:
    """The workers of one recipe, kept from one rollout to the next. Use it as a context manager.

    Args:
        recipe: how each makes its environments.
        inline: environments in this process instead of processes of their own.
        start_timeout: seconds in which a process must have made an environment.
        launch: starts a process: see :func:`agentbench.cluster.launch.launcher`.
    """

    def __init__(
        self, recipe: Recipe, *, inline: bool = False, start_timeout: float = 120.0, launch: Launch = ProcessWorker
    ) -> None:
        self.recipe, self.inline, self.start_timeout, self._launch = recipe, inline, start_timeout, launch
        self._idle: list[Home] = []
        self._nursery: Nursery | None = None
        self._selector: selectors.BaseSelector | None = None
        self._here: list[Home] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for home in self._idle:
            home.worker.kill()
        self._idle.clear()
        if self._nursery:
            self._nursery.close()
        if self._selector:
            self._selector.close()
        self._nursery = self._selector = None

    def prepare(self) -> None:
        """Have what workers come from made ready, beside what this process does meanwhile."""
        if self._launch is ProcessWorker and not self.inline and not (self._nursery and self._nursery.is_alive):
            if self._nursery:
                self._nursery.close()
            self._nursery = Nursery(self.recipe.environment.entry_point)

    def take(self) -> Home:
        """Return a worker that is idle, or a new one, which has no environment yet; :meth:`wait` looks at it."""
        home = self._idle.pop() if self._idle else Home(self._new())
        if home.worker.connection is None:
            self._here.append(home)
        else:
            self._watched().register(home.worker.connection, selectors.EVENT_READ, home)
        return home

    def give_back(self, home: Home) -> None:
        """Keep an idle worker for the next rollout."""
        self._forget(home)
        self._idle.append(home)

    def discard(self, home: Home) -> None:
        """End a worker."""
        self._forget(home)
        home.worker.kill()

    def wait(self, timeout: float) -> list[Home]:
        """Wait until a worker has replies or has died, or something :meth:`watch` ed is there; return all such workers.

        Args:
            timeout: seconds to wait at most.
        """
        here = [home for home in self._here if home.worker.busy()]
        found = self._watched().select(0.0 if here else timeout)
        return [*here, *(key.data for key, _ in found if key.data is not None)]

    @contextlib.contextmanager
    def watch(self, also: Any) -> Iterator[None]:
        """Have something else with a ``fileno()`` end the waiting, too, when it is readable."""
        self._watched().register(also, selectors.EVENT_READ)
        try:
            yield
        finally:
            self._watched().unregister(also)

    def _new(self) -> Worker:
        if self.inline:
            return LocalWorker()
        self.prepare()
        if self._launch is ProcessWorker:
            return ProcessWorker(self.recipe, self.start_timeout, self._nursery)
        return self._launch(self.recipe, self.start_timeout)

    def _watched(self) -> selectors.BaseSelector:
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
        return self._selector

    def _forget(self, home: Home) -> None:
        if home.worker.connection is None:
            self._here.remove(home)
        else:
            self._watched().unregister(home.worker.connection)


def replies_of(worker: Worker, timeout: float) -> list[Reply]:
    """Wait for the next replies of one worker; none if ``timeout`` seconds have passed.

    Raises:
        WorkerFailure: see :meth:`Worker.receive`.
    """
    end = time.monotonic() + timeout
    while True:
        if worker.connection is not None and not wait([worker.connection], end - time.monotonic()):
            return []
        if replies := worker.receive():
            return replies
