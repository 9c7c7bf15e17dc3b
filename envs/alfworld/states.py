"""The states of a game and what leads from one to another, for exact values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from envs.alfworld.engine import Engine
from envs.alfworld.env import ALFWorldEnv
from envs.base.errors import UserError
from envs.contract import Task

_SAME_STATE = frozenset(("look", "inventory", "help", "examine"))
"""Verbs that change nothing but the text."""


class GameStates:
    """The states of a game (:class:`envs.contract.StateModel`); the only reward is 1 for winning, which ends it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.start: Hashable = engine.start

    def moves(self, state: Any) -> Iterator[tuple[str, Hashable, float, bool]]:
        """Yield the moves of a state, their actions sorted."""
        engine = self.engine
        commands = engine.commands(state)
        for name in sorted(commands):
            action = commands[name]
            after = state if action.verb in _SAME_STATE else engine.act(state, action)[0]
            won = engine.won(after)
            yield name, after, float(won), won


def states(environment: ALFWorldEnv) -> Callable[[Task], GameStates]:
    """Return what makes the state model of a task.

    Raises:
        UserError: the environment plays with another engine than the fast one.
    """
    if environment.engine != "fast":
        raise UserError(f"states are counted by the fast engine, and this plays with engine = {environment.engine!r}")
    return lambda task: GameStates(Engine(environment.game(task)))
