"""The installed games: one file a split, from which any single game is read without the others.

A library file is one line of JSON (the list of its games, sorted by name, with offset and size of each), then
the games one after another, each compressed by itself. It is written under a temporary name and renamed when
complete, so a file that exists is whole; reading keeps no place in the file and is safe in forked processes.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from envs.alfworld.games import Game
from envs.base.errors import UserError
from envs.base.files import replaced

VERSION = 1
ENDING = ".games"


@dataclass(frozen=True, slots=True)
class Entry:
    """One game of a library file, without its content.

    Attributes:
        id, name, type: as of :class:`~envs.alfworld.games.Game`.
        size: bytes that the compressed game takes.
    """

    id: str
    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class PackedGame:
    """A game, compressed, on its way into a library file."""

    entry: Entry
    content: bytes


def pack(game: Game) -> PackedGame:
    """Compress a game."""
    content = zlib.compress(json.dumps(asdict(game)).encode(), 6)
    return PackedGame(Entry(game.id, game.name, game.task_type, len(content)), content)


def write_library(path: Path, games: Iterable[PackedGame]) -> None:
    """Write a library file; see :func:`write_whole`."""
    ordered = sorted(games, key=lambda game: game.entry.name)
    header = {"version": VERSION, "games": [_as_row(game.entry) for game in ordered]}
    write_whole(path, (json.dumps(header).encode() + b"\n", *(game.content for game in ordered)))


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file under a temporary name and rename it: it exists whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary, temporary.open("wb") as file:
            file.writelines(parts)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _as_row(entry: Entry) -> list[str | int]:
    return [entry.id, entry.name, entry.type, entry.size]


class Library:
    """The games of one library file, in the order of their names.

    Args:
        path: the library file.
        repair: what the user should do when the file is damaged, as the end of the error message.

    Attributes:
        entries: what there is, without content.

    Raises:
        UserError: the file is damaged, or of another version.
    """

    def __init__(self, path: Path, repair: str) -> None:
        self.path, self._repair = path, repair
        with path.open("rb") as file:
            line = file.readline()
            try:
                header = json.loads(line)
                if header["version"] != VERSION:
                    raise UserError(f"{path} was written by another version of agentbench: {repair}")
                self.entries = tuple(Entry(*row) for row in header["games"])
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged("its list of games cannot be read") from error
            self._offsets = []
            offset = len(line)
            for entry in self.entries:
                self._offsets.append(offset)
                offset += entry.size
            if (size := os.fstat(file.fileno()).st_size) != offset:
                raise self._damaged(f"it has {size} bytes instead of {offset}")

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int) -> Game:
        """Read one game.

        Raises:
            UserError: the file was damaged since it was written.
        """
        try:
            content = json.loads(zlib.decompress(self.packed(index).content))
        except (ValueError, zlib.error) as error:
            raise self._damaged(f"game {self.entries[index].name} cannot be read") from error
        return Game(**{**content, "walkthrough": tuple(content["walkthrough"])})

    def packed(self, index: int) -> PackedGame:
        """Read one game as it is stored."""
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            return PackedGame(self.entries[index], file.read(self.entries[index].size))

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged ({what}): {self._repair}")
