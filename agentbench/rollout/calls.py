"""Calls of a policy that waits for a server: each prompt on its own, in threads; no answer waits for another."""

from __future__ import annotations

import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from policies.contract import Prompt, Response

Caller = TypeVar("Caller")
Ask = Callable[[Prompt], Response | str]


class Calls(Generic[Caller]):
    """Threads that ask the policy; wait for :meth:`fileno` to become readable, then :meth:`take` the answers.

    The threads are daemons: a request that hangs holds up neither the end of a rollout nor that of the program.

    Args:
        ask: answers one prompt; called from many threads at once.
        threads: how many prompts are answered at the same time; at least 1.
    """

    def __init__(self, ask: Ask, threads: int) -> None:
        self._ask, self._threads = ask, threads
        self._waiting: queue.SimpleQueue[tuple[Caller, Prompt] | None] = queue.SimpleQueue()
        self._answered: deque[tuple[Caller, Response | str | BaseException]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._woken = False
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, caller: Caller, prompt: Prompt) -> None:
        """Ask for an action; the answer comes out of :meth:`take` together with ``caller``."""
        self._waiting.put((caller, prompt))

    def fileno(self) -> int:
        """Return the descriptor that is readable when answers are there."""
        return self._reader.fileno()

    def take(self) -> list[tuple[Caller, Response | str]]:
        """Return the answers that have come, without waiting.

        Raises:
            Exception: whatever ``ask`` raised.
        """
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return []
        # Reset before the answers are looked at: one that comes in between wakes the reader again.
        self._woken = False
        found: list[tuple[Caller, Response | str]] = []
        while self._answered:
            caller, answer = self._answered.popleft()
            if isinstance(answer, BaseException):
                raise answer
            found.append((caller, answer))
        return found

    def close(self) -> None:
        """Let the threads end after what they are doing now; forget all other questions."""
        while not self._waiting.empty():
            self._waiting.get()
        for _ in range(self._threads):
            self._waiting.put(None)
        self._reader.close()
        self._writer.close()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            caller, prompt = job
            answer: Response | str | BaseException
            try:
                answer = self._ask(prompt)
            except BaseException as error:  # raised again in take(), where the rollout can end in good order
                answer = error
            self._answered.append((caller, answer))
            if self._woken:
                continue
            self._woken = True
            try:
                self._writer.send(b"\0")
            except OSError:
                return  # closed: nobody listens any more
