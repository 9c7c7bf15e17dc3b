"""An event loop in a thread of its own, for a policy that waits for something outside the program."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Runs coroutines beside the program; the thread ends with this object, and never holds the program up.

    Args:
        at_end: called in the loop's thread after all work was cancelled, to close what it kept open.
    """

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._new: deque[tuple[Coroutine[Any, Any, Any], Future[Any]]] = deque()
        self._is_woken = False
        threading.Thread(target=_run, args=(self._loop, at_end), daemon=True).start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; cancelling the future cancels it."""
        future: Future[T] = Future()
        self._new.append((work, future))
        # Waking the thread costs more than starting what is there: once for all that come at once.
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._start)
        return future

    def _start(self) -> None:
        # Reset before looking: work that comes in between wakes the thread again.
        self._is_woken = False
        while self._new:
            work, future = self._new.popleft()
            task = self._loop.create_task(_done(work, future))
            future.add_done_callback(functools.partial(_cancel, self._loop, task))


async def _done(work: Coroutine[Any, Any, T], future: Future[T]) -> None:
    """Do the work, and give the future what comes of it, unless it was cancelled meanwhile."""
    try:
        result = await work
    except asyncio.CancelledError:
        future.cancel()
        raise
    except Exception as error:
        with contextlib.suppress(InvalidStateError):
            future.set_exception(error)
    else:
        with contextlib.suppress(InvalidStateError):
            future.set_result(result)


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], future: Future[Any]) -> None:
    if future.cancelled():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and cancelled it already
            loop.call_soon_threadsafe(task.cancel)


def _run(loop: asyncio.AbstractEventLoop, at_end: Callable[[], None]) -> None:
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(_ended(tasks, at_end))
    loop.close()


async def _ended(tasks: set[asyncio.Task[Any]], at_end: Callable[[], None]) -> None:
    """Let tasks end, and what they closed be closed."""
    await asyncio.gather(*tasks, return_exceptions=True)
    at_end()
    await asyncio.sleep(0)
