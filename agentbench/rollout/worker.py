"""The worker process: one environment, driven over a pipe, reused from task to task.

Started as ``python -m agentbench.rollout.worker FD PARENT`` with one end of a socket pair. It reads
``(command, arguments)`` and answers ``("ok", reply, seconds)`` or ``("failed", text, seconds)``. It is a process of its
own and not a fork, so that it starts small, and no ``__main__`` guard is needed in the user's script.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from envs.base.errors import ContractError, UserError
from envs.base.moment import checked_moment
from envs.base.safe_text import redacted
from envs.contract import TextEnv
from envs.registry import load


class Host:
    """One environment and its answers to commands, however these come here."""

    def __init__(self) -> None:
        self._environment: TextEnv | None = None

    def answer(self, command: str, arguments: Any) -> tuple[str, Any, float]:
        """Carry out ``make`` (arguments: import path, entry point, options), ``reset`` or ``step``.

        Returns:
            ``("ok", reply, seconds)``, or ``("failed", text, seconds)`` whatever the environment raised.
        """
        begun = time.monotonic()
        status, found = self._carry_out(command, arguments)
        return status, found, time.monotonic() - begun

    def _carry_out(self, command: str, arguments: Any) -> tuple[str, Any]:
        try:
            if command == "make":
                path, entry_point, options = arguments
                sys.path[:] = path
                self._environment = load(entry_point)(**options)
                return "ok", None
            assert self._environment is not None
            return "ok", play_command(self._environment, command, arguments)
        except UserError as error:
            return "failed", redacted(str(error))
        except Exception as error:  # whatever an environment raises is the parent's to count and report
            return "failed", redacted(f"{type(error).__name__}: {error}")


def serve(connection: Connection) -> None:
    """Answer commands until the other end is closed."""
    host = Host()
    while True:
        try:
            command, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer = host.answer(command, arguments)
        try:
            connection.send(answer)
        except (OSError, EOFError):
            return
        except Exception as error:  # a value in ``info`` that no other process can be given
            connection.send(("failed", redacted(f"{type(error).__name__}: {error}"), answer[2]))


def play_command(environment: TextEnv, command: str, arguments: Any) -> Any:
    """Carry out ``reset`` (arguments: task, seed), ``step`` (the action) or ``restore`` (a snapshot): five values.

    ``snapshot`` gives the value that ``restore`` takes.

    Raises:
        ContractError: the environment gave something that is not what the contract says.
    """
    kind = type(environment)
    if command == "reset":
        task, seed = arguments
        found = environment.reset(seed=seed, options={"task": task})
        if kind.reset is TextEnv.reset:
            return found[0], 0.0, False, False, found[1]
        if not isinstance(found, tuple) or len(found) != 2:
            raise ContractError(f"reset() gave {found!r:.60}, not observation and info")
        return checked_moment((found[0], 0.0, False, False, found[1]))
    if command == "snapshot":
        return environment.snapshot()
    if command == "restore":
        observation, info = environment.restore(arguments)
        end = arguments[3]
        return checked_moment((observation, 0.0, *(end[:2] if end else (False, False)), info))
    moment = environment.step(arguments)
    return moment if kind.step is TextEnv.step else checked_moment(moment)  # the base class has checked its own


def ignore_signals() -> None:
    """Leave it to the parent what Ctrl-C, SIGTERM and a closed terminal mean: they may reach the whole group.

    SIGTERM does nothing rather than being ignored, which the programs that an environment starts would inherit.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: None)


def _die_with(parent: int) -> None:
    """End this process, even in the middle of a step, soon after its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Run the worker on the descriptor and for the parent named on the command line."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    ignore_signals()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    serve(Connection(descriptor))


if __name__ == "__main__":
    main()
