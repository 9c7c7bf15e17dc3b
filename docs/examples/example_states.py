"""What the list of environments knows of guessing: which tasks are one scenario, and all that can happen in a task."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from example_environment import GuessEnv

from envs import Environment, Task


class GuessStates:
    """The states of a task: between which numbers the hidden one still lies."""

    def __init__(self, largest: int, hidden: int) -> None:
        self.start: Hashable = (1, largest)
        self.hidden = hidden

    def moves(self, state: Any) -> Iterator[tuple[str, Hashable, float, bool]]:
        """Yield each action that is offered, where it leads, its reward, and whether that is the end."""
        low, high = state
        for number in range(low, high + 1):
            if number == self.hidden:
                yield f"guess {number}", "won", 1.0, True
            else:
                yield f"guess {number}", (number + 1, high) if number < self.hidden else (low, number - 1), 0.0, False


def states(environment: GuessEnv) -> Callable[[Task], GuessStates]:
    """Return what makes the states of a task: with them true advantages are exact."""
    return lambda task: GuessStates(environment.largest, task.index + 1)


def scenario_of(name: str) -> str:
    """Return the scenario of a task: neighbouring numbers count as two variants of one."""
    return f"pair {(int(name.removeprefix('number:')) + 1) // 2}"


GUESS = Environment(
    "guess",
    "agentbench/guess-v0",
    "example_environment:GuessEnv",
    "guess a hidden number",
    scenario="example_states:scenario_of",
    states="example_states:states",
)
