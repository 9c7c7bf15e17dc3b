"""The original engine as reference back end: alfworld's text game on TextWorld's planning library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from envs.alfworld.engine import NOTHING_HAPPENS
from envs.alfworld.games import Game, check_sentence
from envs.alfworld.players import Shown
from envs.base.digest import digest_of_state
from envs.base.errors import UserError
from envs.base.extras import how_to_install

_GOAL_IN_GRAMMAR = "UNKNOWN GOAL."
_FACTS_THAT_MATTER = {
    *("atlocation", "holds", "inreceptacle", "not_inreceptacle", "objectatlocation", "opened"),
    *("isclean", "ishot", "iscool", "issliced", "istoggled"),
}

# Every new environment loads a copy of a 34 MB library that the process never gives back: they are used again.
_idle: list[Any] = []


def original_version() -> str:
    """Return names and versions of the packages of the original engine.

    Raises:
        UserError: they are not installed.
    """
    try:
        return f"alfworld {version('alfworld')}, textworld {version('textworld')}"
    except PackageNotFoundError as error:
        raise UserError(
            f"engine='textworld' needs the package {error.name}: type `{how_to_install('alfworld')}`"
        ) from error


def game_file(game: Game) -> dict[str, Any]:
    """Assemble the content of an official ``game.tw-pddl`` file from the package's own rules and texts.

    Raises:
        envs.alfworld.games.BadGameError: the game's sentence would be run as a program.
    """
    check_sentence(game.sentence)
    domain, grammar = _rules()
    return {
        "pddl_domain": domain,
        "grammar": grammar.replace(_GOAL_IN_GRAMMAR, game.sentence),
        "pddl_problem": game.problem,
        "solvable": True,
        "walkthrough": list(game.walkthrough),
    }


@cache
def _rules() -> tuple[str, str]:
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    grammar = Path(ALFRED_TWL2_PATH).read_text()
    if _GOAL_IN_GRAMMAR not in grammar:
        raise UserError(f"{ALFRED_TWL2_PATH} has no place for the task sentence: install alfworld 0.4.2")
    return Path(ALFRED_PDDL_PATH).read_text(), grammar


class OriginalPlayer:
    """Plays games with the original packages, unchanged; slow, and used for comparison.

    What they make of a problem's text is kept, so that a game that was played before starts at once.

    A saved point is the list of commands so far: going back plays them again.

    Raises:
        UserError: the packages are not installed.
    """

    def __init__(self) -> None:
        self._env: Any = None
        self.version = original_version()
        self._state: Any = None
        self._commands: tuple[str, ...] = ()

    def start(self, key: str, game: Game) -> Shown:
        """Begin a game."""
        if self._env is None:
            self._env = _idle.pop() if _idle else _new_environment()
        with _translations_kept():
            self._env.load(game_file(game))
            self._state = self._env.reset()
        self._commands = ()
        return self._turn(is_valid=True)

    def act(self, command: str) -> Shown:
        """Carry out any string as a command."""
        self._state, _, _ = self._env.step(command)
        self._commands += (command,)
        return self._turn(is_valid=self._state["feedback"] != NOTHING_HAPPENS)

    def _turn(self, is_valid: bool) -> Shown:
        state = self._state
        return Shown(state["feedback"], list(state["admissible_commands"]), bool(state["won"]), is_valid)

    def save(self) -> tuple[str, ...]:
        """Return the commands so far."""
        return self._commands

    def load(self, saved: tuple[str, ...]) -> Shown:
        """Play the commands again from the start."""
        with _translations_kept():
            self._state = self._env.reset()
        self._commands = ()
        for command in saved:
            self.act(command)
        return self._turn(is_valid=True)

    def fingerprint(self) -> str:
        """Return a hash of the facts that decide texts, commands and success."""
        facts = sorted(str(fact) for fact in self._state["_facts"] if fact.name in _FACTS_THAT_MATTER)
        return digest_of_state("\n".join(facts))

    def close(self) -> None:
        """Leave the environment to the next player in this process."""
        if self._env is not None:
            _idle.append(self._env)
            self._env = None

    def __del__(self) -> None:
        self.close()


class _KeptParses:
    """A parser of the package that reads each text once: it would read the same few hundred again at each step.

    It gives trees that are only ever read; what the package makes of them it makes anew every time.
    """

    def __init__(self, parser: Any) -> None:
        self.parse = lru_cache(maxsize=4096)(parser.parse)


@cache
def _keep_parses() -> None:
    """Have the parsers of this process keep what they read."""
    from textworld import logic
    from textworld.envs.pddl import textgen

    for module in (logic, textgen):
        module._PARSER = _KeptParses(module._PARSER)


def _new_environment() -> Any:
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    _keep_parses()
    # A plan of the planner is never asked for: it can take minutes and is not part of the game.
    return AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))


@lru_cache(maxsize=32)
def _translated(domain: str, problem: str, optimize: bool) -> tuple[Any, str]:
    """Return what the package makes of a problem: the same for the same texts, and only ever read."""
    from fast_downward.interface import pddl2sas

    arguments = sys.argv
    try:
        task, sas = pddl2sas(domain, problem, optimize=optimize)
    finally:
        sys.argv = arguments  # the translation puts its own there
    return task, sas


@contextmanager
def _translations_kept() -> Iterator[None]:
    """Let the package translate each problem once: it would do so four times, a second each, whenever a game starts."""
    import fast_downward

    def kept(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> tuple[Any, str]:
        return _translated(domain, problem, optimize)

    theirs = fast_downward.pddl2sas
    fast_downward.pddl2sas = kept
    try:
        yield
    finally:
        fast_downward.pddl2sas = theirs
