"""What the environment asks of an engine, and the fast engine behind it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from envs.alfworld.engine import NOTHING_HAPPENS, Action, Engine
from envs.alfworld.games import BadGameError, Game
from envs.alfworld.problem import KEPT, State
from envs.base.digest import digest_of_state
from envs.base.errors import UserError

RULES_VERSION = 1
"""Raised whenever the fast engine changes how any game goes."""


class Shown(NamedTuple):
    """What an engine shows after the start or a command.

    Attributes:
        observation: the game's answer.
        commands: the admissible commands, sorted.
        won: whether the goal is reached.
        is_valid: whether the command was admissible (``True`` at the start).
    """

    observation: str
    commands: list[str]
    won: bool
    is_valid: bool


class Player(Protocol):
    """An engine that plays one episode at a time."""

    version: str
    """Name and version of everything that decides how a game goes."""

    def start(self, key: str, game: Game) -> Shown:
        """Begin a game; ``key`` is its task id."""

    def act(self, command: str) -> Shown:
        """Carry out any string as a command."""

    def save(self) -> Any:
        """Return the present point of the episode: picklable and never changed later."""

    def load(self, saved: Any) -> Shown:
        """Go back to a value of ``save`` of the same game; the observation is left empty."""

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides how the episode continues."""

    def close(self) -> None:
        """Release what is held outside of Python."""


@lru_cache(maxsize=KEPT)
def _engine(game: Game) -> Engine:
    """Return the game's engine, which no episode changes: those of the games played last are shared."""
    return Engine(game)


class FastPlayer:
    """The fast engine."""

    version = f"fast {RULES_VERSION}"

    def __init__(self) -> None:
        self._engine: Engine
        self._state: State
        self._commands: dict[str, Action]

    def start(self, key: str, game: Game) -> Shown:
        """Begin a game."""
        try:
            self._engine = _engine(game)
        except BadGameError as error:
            raise UserError(f"game {game.name} cannot be played: {error}") from error
        return self._turn(self._engine.start, self._engine.introduction)

    def act(self, command: str) -> Shown:
        """Carry out any string as a command."""
        action = self._commands.get(command.strip())
        if action is None:
            return Shown(NOTHING_HAPPENS, sorted(self._commands), self._engine.won(self._state), is_valid=False)
        return self._turn(*self._engine.act(self._state, action))

    def _turn(self, state: State, observation: str) -> Shown:
        self._state = state
        self._commands = self._engine.commands(state)
        return Shown(observation, sorted(self._commands), self._engine.won(state), is_valid=True)

    def save(self) -> State:
        """Return the state, which is immutable."""
        return self._state

    def load(self, saved: State) -> Shown:
        """Go back to a state."""
        return self._turn(State(*saved), "")

    def fingerprint(self) -> str:
        """Return a hash of the state."""
        return digest_of_state(repr(tuple(self._state)))

    def close(self) -> None:
        """Do nothing: there is nothing outside of Python."""
