"""New ALFWorld games without any download: houses and tasks drawn after the official train games.

Every game is decided by (seed, index, difficulty) alone, can be solved, and is played by the original engine
as well as by the fast one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import overload

from envs.alfworld.engine import Engine
from envs.alfworld.games import TASK_TYPES, Game
from envs.alfworld.house_sampling import Level, sample_house
from envs.alfworld.house_tables import house_tables
from envs.alfworld.problem import KEPT
from envs.alfworld.problem_writing import write_problem
from envs.alfworld.solution import solve
from envs.base.errors import UserError, unknown

LEVELS = {
    "small": Level(rooms=1, receptacles=0.4, objects=0.3),
    "normal": Level(rooms=1, receptacles=1.0, objects=1.0),
    "large": Level(rooms=3, receptacles=1.0, objects=1.0),
}
"""Difficulty -> how big the houses are; ``normal`` is like the official games."""

_TYPES = tuple(TASK_TYPES.values())
_SENTENCES = {
    "Pick": ("put some {object} on {place}.", "put a {object} in {place}."),
    "Look": ("look at {object} under the {place}.", "examine the {object} with the {place}."),
    "Clean": ("clean some {object} and put it in {place}.", "put a clean {object} in {place}."),
    "Heat": ("heat some {object} and put it in {place}.", "put a hot {object} in {place}."),
    "Cool": ("cool some {object} and put it in {place}.", "put a cool {object} in {place}."),
    "Pick2": ("put two {object} in {place}.", "find two {object} and put them in {place}."),
}
_SPLIT = re.compile(r"generated:(\d+):(\d+)(?::(.*))?")


def generate(seed: int, index: int, difficulty: str = "normal") -> Game:
    """Make one game.

    Args:
        seed: a whole number from 0: which series of games.
        index: place in the series, from 0; the six task types take turns.
        difficulty: ``small``, ``normal`` (like the official games) or ``large`` (several rooms).

    Raises:
        UserError: a negative number or an unknown difficulty.
    """
    return _with_walkthrough(_unsolved(seed, index, difficulty))


def _made(seed: int, index: int, difficulty: str) -> Game:
    """Make a game without its walkthrough: what needs neither its house nor its solution gets it so."""
    if seed < 0 or index < 0:
        raise UserError(f"seed and index of a generated game are whole numbers from 0, got {seed} and {index}")
    if difficulty not in LEVELS:
        raise unknown("difficulty of generated games", difficulty, LEVELS)
    tables = house_tables()
    rng = random.Random(f"alfworld {seed} {index} {difficulty}")
    task_type = _TYPES[index % len(_TYPES)]
    targets = tables.targets[task_type]
    target = rng.choices(targets, [each.games for each in targets])[0]
    sentence = _SENTENCES[task_type][int(rng.random() * 2)]
    plan = sample_house(rng, tables, LEVELS[difficulty], task_type, target)
    level = "" if difficulty == "normal" else f":{difficulty}"
    name = f"generated:{seed}:{index}{level}"
    problem = write_problem(name.replace(":", "_"), plan, task_type, target, tables)
    sentence = sentence.format(object=target.object.lower(), place=target.place.lower())
    return Game(name, "generated", task_type, sentence, problem, ())


_unsolved = lru_cache(maxsize=64)(_made)
"""The games listed last: whoever lists a few plays them next."""


def _with_walkthrough(game: Game) -> Game:
    """Solve the game by playing it; a game that cannot be won, or is won at its start, is never given out."""
    walkthrough = solve(Engine(game))
    if not walkthrough:
        raise AssertionError(f"{game.name} was made {'without a solution' if walkthrough is None else 'solved'}")
    return replace(game, walkthrough=walkthrough)


def parse_split(split: str) -> GeneratedGames:
    """Read ``generated:<seed>:<number>[:<difficulty>]`` and return its games, each made when it is asked for.

    Raises:
        UserError: the text is of another form; the message gives the right one.
    """
    match = _SPLIT.fullmatch(split)
    if match is None or not int(match[2]):
        raise UserError(
            f"{split!r} names no generated games: write generated:<seed>:<number>[:<difficulty>] with whole "
            f"numbers, at least 1 game, and a difficulty of {', '.join(LEVELS)}, as in generated:0:100:large"
        )
    difficulty = "normal" if match[3] is None else match[3]
    if difficulty not in LEVELS:
        raise unknown("difficulty of generated games", difficulty, LEVELS)
    return GeneratedGames(int(match[1]), int(match[2]), difficulty)


@dataclass(frozen=True)
class GeneratedGames(Sequence[Game]):
    """The first ``number`` games of a series; made when asked for, and only a few are kept."""

    seed: int
    number: int
    difficulty: str

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, index: int) -> Game: ...
    @overload
    def __getitem__(self, index: slice) -> list[Game]: ...
    def __getitem__(self, index: int | slice) -> Game | list[Game]:
        if isinstance(index, slice):
            return [generate(self.seed, i, self.difficulty) for i in range(*index.indices(self.number))]
        return _kept(self.seed, range(self.number)[index], self.difficulty)

    def unsolved(self, index: int) -> Game:
        """Return a game without its walkthrough: its house is not read."""
        return _unsolved(self.seed, range(self.number)[index], self.difficulty)


_kept = lru_cache(maxsize=KEPT)(generate)
"""The games made last: a group of episodes asks for the same one again and again."""
