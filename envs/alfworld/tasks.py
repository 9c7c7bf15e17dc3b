"""The task lists of the environment: installed games, a user's own games, generated games."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

from envs.alfworld.games import SPLITS, Damaged, Game
from envs.alfworld.install import library_folder, library_path, open_library
from envs.alfworld.library import ENDING, Library, PackedGame, pack, write_library, write_whole
from envs.alfworld.manifest import official_ids
from envs.alfworld.sources import find_game_files, read_games
from envs.base.digest import digest_of_json
from envs.base.errors import UserError, unknown
from envs.contract import Task

GENERATED = "generated:"


class GameList(ABC):
    """Games by number, loaded one at a time.

    Attributes:
        tasks: what there is, in a fixed order.
        notes: what a report should say of the list (that it is not the whole official split); often empty.
    """

    tasks: Sequence[Task]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def load(self, task: Task) -> Game:
        """Return the game of a task."""

    @abstractmethod
    def find(self, key: str) -> Task:
        """Return the task with this id or name, or raise :class:`UserError`."""


def open_games(split: str, data: Path | None) -> GameList:
    """Open a list of games.

    Args:
        split: an official split, or ``generated:<seed>:<number>[:<difficulty>]``, or (with ``data``) any split
            found there.
        data: games to play without installing them, as :func:`~envs.alfworld.sources.read_games` takes them;
            ``None`` for the installed ones.

    Raises:
        UserError: no such split, not installed, damaged.
    """
    if split.startswith(GENERATED):
        if data is not None:
            raise UserError(f"data= does not go with the generated split {split!r}: name a split that it holds")
        return GeneratedGames(split)
    if data is not None:
        return _open_own(data, split)
    if split not in SPLITS:
        raise unknown("ALFWorld split", split, [*SPLITS, "generated:<seed>:<number>"])
    path = library_path(split)
    return _installed(split, path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=8)
def _installed(split: str, path: Path, changed: int) -> LibraryGames:
    """Open the installed games of a split, once for all environments, until the file changes."""
    library = open_library(split)
    return LibraryGames(library, _note_incomplete(library, split, "installed"))


class LibraryGames(GameList):
    """The games of a library file."""

    def __init__(self, library: Library, notes: tuple[str, ...]) -> None:
        self._library = library
        self.tasks = tuple(Task(entry.id, entry.name, entry.type, index) for index, entry in enumerate(library.entries))
        self._by_key = {key: task for task in self.tasks for key in (task.name, task.id)}
        self.notes = notes

    def load(self, task: Task) -> Game:
        """Return the game of a task, read from the file."""
        return self._library.load(task.index)

    def find(self, key: str) -> Task:
        """Return the task with this id or name, or raise :class:`UserError` with the nearest ones."""
        if (task := self._by_key.get(key)) is not None:
            return task
        raise unknown("task", key, [name for task in self.tasks for name in (task.id, task.name)])


def _note_incomplete(library: Library, split: str, where: str) -> tuple[str, ...]:
    if split not in SPLITS:
        return ()
    count = sum(entry.id in official_ids()[split] for entry in library.entries)
    if count == len(library) == SPLITS[split]:
        return ()
    others = f", and {len(library) - count} others" if count < len(library) else ""
    return (f"{split}: {count} of {SPLITS[split]} official games are {where}{others}",)


# -- generated games -------------------------------------------------------------------------------


class GeneratedGames(GameList):
    """The games of a split ``generated:...``, each made when it is asked for."""

    def __init__(self, split: str) -> None:
        from envs.alfworld import generator

        self._split = split
        games = generator.parse_split(split)
        self._game: Callable[[int], Game] = lru_cache(maxsize=4)(games.__getitem__)
        self.tasks = _GeneratedTasks(len(games), games.unsolved)

    def load(self, task: Task) -> Game:
        """Return the game of a task, made again if need be."""
        return self._game(task.index)

    def find(self, key: str) -> Task:
        """Return the task with this id or name; a name is found without making other games."""
        if key.startswith(GENERATED):
            number = key.split(":")[2:3]
            if number and number[0].isdigit() and int(number[0]) < len(self.tasks):
                task = self.tasks[int(number[0])]
                if task.name == key:
                    return task
        else:
            for task in self.tasks:
                if task.id == key:
                    return task
        first, last = self.tasks[0].name, self.tasks[-1].name
        raise UserError(f"unknown task {key!r}: the split {self._split!r} goes from {first} to {last}")


class _GeneratedTasks(Sequence[Task]):
    """The tasks of generated games; each is known once its game was made."""

    def __init__(self, count: int, game: Callable[[int], Game]) -> None:
        self._count, self._game = count, game
        self._known: dict[int, Task] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        position = range(self._count)[index]
        if position not in self._known:
            game = self._game(position)
            self._known[position] = Task(game.id, game.name, game.task_type, position)
        return self._known[position]


# -- games of the user, played without installing ----------------------------------------------------


def _open_own(data: Path, split: str) -> LibraryGames:
    """Open a split of the games in ``data``, packed into a folder of its own on first use."""
    folder = library_folder() / "own" / _fingerprint(data)
    summary_file = folder / "summary.json"
    if not summary_file.exists():
        _pack_own(data, folder)
    summary = json.loads(summary_file.read_text())
    if split not in summary["splits"]:
        raise unknown(f"split of {data}", split, summary["splits"])
    library = Library(folder / f"{split}{ENDING}", repair=f"delete {folder}")
    return LibraryGames(library, (*_note_incomplete(library, split, f"in {data}"), *summary["left_out"]))


def _fingerprint(data: Path) -> str:
    """Short hash that changes when a game file in ``data`` is added, removed, replaced or edited."""
    if not data.exists():
        raise UserError(f"{data} does not exist: give the folder or the archive of the ALFWorld games")
    files = find_game_files(data) if data.is_dir() else [data]
    stats = [(path.resolve().as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return digest_of_json(stats, 16)


def _pack_own(data: Path, folder: Path) -> None:
    games: dict[str, dict[str, PackedGame]] = defaultdict(dict)
    left_out = []
    for part in read_games(data):
        if isinstance(part, Damaged):
            left_out.append(f"left out {part.name}: {part.reason}")
        elif part.id in games[part.split]:
            twin = games[part.split][part.id].entry.name
            left_out.append(f"left out {part.name}: the same game as {twin}")
        else:
            games[part.split][part.id] = pack(part)
    for split, packed in games.items():
        write_library(folder / f"{split}{ENDING}", packed.values())
    if not games:
        raise UserError(f"{data} holds no readable game: {left_out[0]}")
    summary = {"splits": sorted(games), "left_out": left_out}
    write_whole(folder / "summary.json", [json.dumps(summary).encode()])
