"""Which games are the official ones: their content ids, shipped with the package, by split."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

from envs.alfworld.games import SPLITS, Damaged, Game

_FILE = "official_ids.txt.gz"


@cache
def official_ids() -> dict[str, frozenset[str]]:
    """Return the ids of the official games of each split."""
    lines = gzip.decompress(files("envs.alfworld").joinpath(_FILE).read_bytes()).decode().splitlines()
    pairs = [line.split() for line in lines]
    return {split: frozenset(key for where, key in pairs if where == split) for split in SPLITS}


def write_manifest(games: Iterable[Game | Damaged], target: Path) -> None:
    """Write the list of ids: one line ``<split> <id>`` a game, sorted, compressed.

    It was made once, from all 4,027 games of the archive ``json_2.1.2_tw-pddl`` that alfworld 0.4.2 uses::

        write_manifest(read_games(Path("json_2.1.2_tw-pddl.zip")), Path("envs/alfworld/official_ids.txt.gz"))

    The result depends on the content of the games alone.

    Raises:
        ValueError: a game is damaged, or the number of games of a split is not the official one.
    """
    lines = []
    for game in games:
        if isinstance(game, Damaged):
            raise ValueError(f"{game.name}: {game.reason}")
        lines.append(f"{game.split} {game.id}")
    for split, count in SPLITS.items():
        found = sum(line.startswith(f"{split} ") for line in set(lines))
        if found != count:
            raise ValueError(f"{split} has {found} different games instead of {count}")
    target.write_bytes(gzip.compress("".join(f"{line}\n" for line in sorted(set(lines))).encode(), mtime=0))
