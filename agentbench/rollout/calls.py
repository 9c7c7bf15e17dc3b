"""Calls of a policy that waits for a server: each prompt on its own; no answer waits for another."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from policies.contract import Prompt, Response

Caller = TypeVar("Caller")


class Calls(Generic[Caller]):
    """The answers that are still to come; wait for :meth:`fileno` to become readable, then :meth:`take` those there.

    Args:
        ask: the policy's ``submit``.
    """

    def __init__(self, ask: Callable[[Prompt], Future[Response]]) -> None:
        self._ask = ask
        self._open: dict[Future[Response], Caller] = {}
        self._answered: deque[Future[Response]] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._woken = False

    def submit(self, caller: Caller, prompt: Prompt) -> None:
        """Ask for an action; the answer comes out of :meth:`take` together with ``caller``."""
        answer = self._ask(prompt)
        self._open[answer] = caller
        answer.add_done_callback(self._wake)

    def fileno(self) -> int:
        """Return the descriptor that is readable when answers are there."""
        return self._reader.fileno()

    def take(self) -> list[tuple[Caller, Future[Response]]]:
        """Return the answers that have come, without waiting."""
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return []
        # Reset before the answers are looked at: one that comes in between wakes the reader again.
        self._woken = False
        found = []
        while self._answered:
            answer = self._answered.popleft()
            found.append((self._open.pop(answer), answer))
        return found

    def close(self) -> None:
        """Give up all answers that are still to come."""
        for answer in list(self._open):
            answer.cancel()
        self._reader.close()
        self._writer.close()

    def _wake(self, answer: Future[Response]) -> None:
        """Note an answer; called from the policy's own thread."""
        self._answered.append(answer)
        if not self._woken:
            self._woken = True
            try:
                self._writer.send(b"\0")
            except OSError:
                return  # closed: nobody listens any more
