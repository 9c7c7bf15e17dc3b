"""Checking the fast engine against episodes that were recorded from the original one."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from envs.alfworld.games import SPLITS, Game
from envs.alfworld.install import library_path, open_library
from envs.alfworld.players import FastPlayer, Player, Shown
from envs.alfworld.sources import read_games
from envs.base.errors import UserError

_SHOWN = 20


def verify(reference: Path, write: Callable[[str], None], data: Path | None = None) -> tuple[int, str]:
    """Replay every recorded episode with the fast engine and compare every step.

    Observation, admissible commands in their order, ``won``, ``score`` and ``done`` must all be equal.

    Args:
        reference: folder with recorded episodes (``*.jsonl``, ``*.jsonl.gz``), one JSON object a line: ``game``,
            ``policy``, ``reset`` and ``steps``; each turn has ``observation``, ``admissible``, ``won``, and
            after a step also ``action``, ``score``, ``done``.
        write: takes one line for each mismatch (the first 20).
        data: where the games are, as :func:`~envs.alfworld.sources.read_games` takes it. By default the
            installed ones, then those in ``../../data/alfworld`` beside ``reference``.

    Returns:
        Number of turns that differ, and one line that sums up.

    Raises:
        UserError: no or unreadable recordings, or a recorded game that is nowhere to be found.
    """
    walks = list(read_walks(reference))
    games = find_games({walk["game"] for walk in walks}, reference, data)
    player = FastPlayer()
    mismatches = turns = 0
    for walk in walks:
        differences = compare(player, games[walk["game"]], walk)
        turns += 1 + len(walk["steps"])
        for difference in differences[: max(0, _SHOWN - mismatches)]:
            write(f"{walk['game']} ({walk['policy']}): {difference}")
        mismatches += len(differences)
    if mismatches > _SHOWN:
        write(f"... and {mismatches - _SHOWN} more")
    return mismatches, (
        f"alfworld: {len(walks)} recorded episodes of {len(games)} games, {turns - len(walks)} steps: "
        f"{mismatches} of {turns} turns differ"
    )


def compare(player: Player, game: Game, walk: dict[str, Any]) -> list[str]:
    """Replay one recorded episode; return one line for each turn that differs."""
    differences = []
    for number, turn in enumerate([walk["reset"], *walk["steps"]]):
        got = player.act(turn["action"]) if number else player.start(game.id, game)
        parts = list(_differences(turn, got, is_reset=not number))
        if parts:
            after = f"step {number} after {turn['action']!r}" if number else "reset"
            differences.append(f"{after}: {'; '.join(parts)}")
    return differences


def wins(player: Player, game: Game) -> bool:
    """Return whether the game's walkthrough is admissible throughout and wins with its last command, not before."""
    turn = player.start(game.id, game)
    for command in game.walkthrough:
        if turn.won:
            return False
        turn = player.act(command)
        if not turn.is_valid:
            return False
    return turn.won


def _differences(expected: dict[str, Any], got: Shown, is_reset: bool) -> Iterator[str]:
    if got.observation != expected["observation"]:
        yield f"observation: expected {expected['observation']!r}, got {got.observation!r}"
    if got.commands != expected["admissible"]:
        yield _command_difference(expected["admissible"], got.commands)
    if got.won != expected["won"]:
        yield f"won: expected {expected['won']}, got {got.won}"
    if not is_reset and float(got.won) != float(expected["score"]):
        yield f"score: expected {expected['score']}, got {float(got.won)}"
    if not is_reset and got.won != expected["done"]:
        yield f"done: expected {expected['done']}, got {got.won}"


def _command_difference(expected: Sequence[str], got: Sequence[str]) -> str:
    missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing or extra:
        return f"commands: missing {missing}, too many {extra}"
    place = next(i for i, (a, b) in enumerate(zip_longest(expected, got)) if a != b)
    return f"commands: another order from place {place}"


def read_walks(reference: Path) -> Iterator[dict[str, Any]]:
    """Yield the recorded episodes of a folder, in the format that :func:`verify` describes.

    Raises:
        UserError: there are none, or one cannot be read or lacks a field.
    """
    paths = sorted((*reference.glob("*.jsonl"), *reference.glob("*.jsonl.gz")))
    if not paths:
        raise UserError(f"{reference} holds no recorded episodes: expected files *.jsonl or *.jsonl.gz")
    for path in paths:
        number = 0
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    walk = json.loads(line)
                    if missing := _missing_field(walk):
                        raise UserError(f"{path} line {number}: {missing}")
                    yield walk
        except (OSError, EOFError, ValueError, TypeError, zlib.error, lzma.LZMAError) as error:
            raise UserError(f"{path} cannot be read after line {number}: {error}") from error


def _missing_field(walk: dict[str, Any]) -> str | None:
    """Say what a recorded episode lacks, if anything."""
    for key in ("game", "policy", "reset", "steps"):
        if key not in walk:
            return f"no field {key!r}"
    for number, turn in enumerate([walk["reset"], *walk["steps"]]):
        for key in ("observation", "admissible", "won", *(("action", "score", "done") if number else ())):
            if key not in turn:
                return f"turn {number} has no field {key!r}"
    return None


def find_games(names: set[str], reference: Path, data: Path | None) -> dict[str, Game]:
    """Return the games with these names, all of them, from where :func:`verify` looks for them.

    Raises:
        UserError: some are nowhere to be found.
    """
    if data is not None:
        games = _games_in(data, names)
        hint = f"not in {data}"
    else:
        games = _installed_games(names)
        beside = reference.resolve().parent.parent / "data" / "alfworld"
        for source in sorted((*beside.glob("*.jsonl.xz"), *beside.glob("*.tar.xz"))):
            if missing := names - set(games):
                games |= _games_in(source, missing)
        hint = "not installed: type `agentbench install alfworld`"
    if missing := names - set(games):
        raise UserError(f"{len(missing)} recorded games, first {min(missing)}, are {hint}")
    return games


def _games_in(source: Path, names: Iterable[str]) -> dict[str, Game]:
    return {part.name: part for part in read_games(source) if isinstance(part, Game) and part.name in names}


def _installed_games(names: set[str]) -> dict[str, Game]:
    games = {}
    for split in SPLITS:
        if library_path(split).exists():
            library = open_library(split)
            for index, entry in enumerate(library.entries):
                if entry.name in names:
                    games[entry.name] = library.load(index)
    return games
