"""What hosts environments: any number of them side by side, each in a numbered slot, one at work at a time."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from envs.base.digest import digest_of_json
from envs.base.errors import ContractError, UserError
from envs.base.moment import checked_moment
from envs.base.safe_text import redacted, without_half_characters
from envs.contract import TextEnv
from envs.registry import load

Answer = tuple[int, str | None, Any, float]
"""Slot, fault, value and seconds: see :class:`agentbench.rollout.contract.Reply`."""


class Host:
    """Environments and their answers to commands, however these come here.

    Args:
        mark: called with a slot and ``time.monotonic()`` when a command begins, and with -1 when it ends.
    """

    def __init__(self, mark: Callable[[int, float], None] = lambda slot, now: None) -> None:
        self._mark = mark
        self._environments: dict[int, TextEnv] = {}

    def answer(self, slot: int, command: str, arguments: Any) -> Answer:
        """Carry out ``make`` (arguments: import path, entry point, options), or what :func:`play_command` knows.

        Whatever the environment raises is the fault of the answer.
        """
        begun = time.monotonic()
        self._mark(slot, begun)
        fault, value = self._carry_out(slot, command, arguments)
        ended = time.monotonic()
        self._mark(-1, ended)
        return slot, fault, value, ended - begun

    def close(self, slot: int) -> None:
        """Forget the environment of a slot; whatever it raises as it is closed is of no use to anybody."""
        environment = self._environments.pop(slot, None)
        if environment is not None:
            self._mark(slot, time.monotonic())
            with contextlib.suppress(Exception):
                environment.close()
            self._mark(-1, time.monotonic())

    def close_all(self) -> None:
        """Forget all environments."""
        for slot in list(self._environments):
            self.close(slot)

    def _carry_out(self, slot: int, command: str, arguments: Any) -> tuple[str | None, Any]:
        try:
            if command == "make":
                path, entry_point, options = arguments
                sys.path[:] = path
                self._environments[slot] = load(entry_point)(**options)
                return None, None
            return None, play_command(self._environments[slot], command, arguments)
        except UserError as error:
            return redacted(str(error)), None
        except Exception as error:  # whatever an environment raises is the parent's to count and report
            return redacted(f"{type(error).__name__}: {error}"), None


def begins(request: tuple[int, str, Any]) -> bool:
    """Return whether a request begins an episode, which can take long (a game is loaded): those under way go first."""
    command = request[2][0] if request[1] == "mark" else request[1]
    return command in ("reset", "make", "replay")


def play_command(environment: TextEnv, command: str, arguments: Any) -> Any:
    """Carry out ``reset`` (arguments: task, seed), ``step`` (the action) or ``restore`` (a snapshot): five values.

    ``snapshot`` gives the value that ``restore`` takes. ``mark`` carries out another command (its name, its arguments)
    and gives a snapshot of the point after it as a sixth value, None where the episode is over. ``replay`` (task, seed,
    actions, digest) plays an episode again as far as its actions go.

    Raises:
        ContractError: the environment gave something that is not what the contract says, or does not repeat itself.
    """
    kind = type(environment)
    if command == "step":
        moment = environment.step(arguments)
        return moment if kind.step is TextEnv.step else checked_moment(moment)  # the base class has checked its own
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
    if command == "mark":
        moment = play_command(environment, *arguments)
        return (*moment, None if moment[2] or moment[3] else environment.snapshot())
    if command == "replay":
        return _replay(environment, *arguments)
    observation, info = environment.restore(arguments)
    end = arguments[3]
    return checked_moment((observation, 0.0, *(end[:2] if end else (False, False)), info))


def _replay(environment: TextEnv, task: str, seed: int, actions: Sequence[str], digest: str) -> Any:
    moments = [play_command(environment, "reset", (task, seed))]
    moments += [play_command(environment, "step", action) for action in actions]
    seen = [(moment[0], str(moment[4]["anchor"]), moment[1]) for moment in moments]
    if digest_of_course(seen) != digest:
        raise ContractError(f"task {task} does not repeat itself: the same {len(actions)} actions led elsewhere")
    return moments[-1]


def digest_of_course(seen: Sequence[tuple[str, str, float]]) -> str:
    """Return the digest of what an episode showed: observation, anchor and reward (0 at first) of every moment."""
    return digest_of_json([(without_half_characters(text), anchor, float(reward)) for text, anchor, reward in seen])


def ignore_signals() -> None:
    """Leave it to the parent what Ctrl-C, SIGTERM and a closed terminal mean: they may reach the whole group.

    SIGTERM does nothing rather than being ignored, which the programs that an environment starts would inherit.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
