"""A time limit for a call into other people's code, which nothing else could interrupt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], advice: str) -> T:
    """Call a function; stop waiting for it after a time.

    It runs in a thread of its own, which does not keep the program from ending. What it works on must not be touched
    any more after it was given up.

    Args:
        seconds: how long is waited.
        call: the function.
        advice: where the limit can be changed, for the error.

    Raises:
        TimeoutError: it has not ended; it continues in its thread.
        BaseException: what the function raised.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # the caller raises it
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if answer.done():  # the call's own
            raise
        raise TimeoutError(f"no answer within {seconds:g} s, {advice}") from None
