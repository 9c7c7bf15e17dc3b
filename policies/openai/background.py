"""An event loop in a thread of its own, for a policy that waits for something outside the program."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Runs coroutines beside the program; the thread ends with this object, and never holds the program up.

    Args:
        at_end: called in the loop's thread after all work was cancelled, to close what it kept open.
    """

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_run, args=(self._loop, at_end), daemon=True).start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


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
