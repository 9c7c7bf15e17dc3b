"""Installing the official ALFWorld games: ``agentbench install alfworld [--from ARCHIVE_OR_FOLDER]``."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from envs.alfworld.games import SPLITS, Damaged, Game
from envs.alfworld.library import ENDING, Library, PackedGame, pack, write_library
from envs.alfworld.manifest import official_ids
from envs.alfworld.sources import read_games
from envs.base.download import download
from envs.base.errors import UserError
from envs.base.home import data_home

ARCHIVE_URL = "https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip"
"""The games that alfworld 0.4.2 plays; its own ``alfworld-download`` fetches the same file."""

COMMAND = "agentbench install alfworld"
_FROM = f"{COMMAND} --from ARCHIVE_OR_FOLDER"


def library_folder(home: Path | None = None) -> Path:
    """Return the folder of the installed games (it may not exist yet)."""
    return (home or data_home()) / "alfworld"


def library_path(split: str, home: Path | None = None) -> Path:
    """Return where the installed games of a split lie."""
    return library_folder(home) / f"{split}{ENDING}"


def install(source: str | None, write: Callable[[str], None], home: Path | None = None) -> None:
    """Install the official games, from the network or from a copy at hand.

    Every game is checked against the digests of the official ones; the good games are installed even where
    others are damaged, and join those that were installed before. Installing again changes nothing.

    Args:
        source: archive, folder or compact file (see :func:`envs.alfworld.sources.read_games`); ``None`` fetches
            the official archive.
        write: takes lines of text for the user.
        home: data folder, by default :func:`envs.base.home.data_home`.

    Raises:
        UserError: no network, no such source, or (after everything good was installed) some games were
            damaged or not official.
    """
    if source is None:
        archive = library_folder(home) / "downloads" / ARCHIVE_URL.rpartition("/")[2]
        download(ARCHIVE_URL, archive, f"fetch it on another machine and type `{_FROM}`", write)
        try:
            bad = _install_games(read_games(archive), write, home)
        except UserError:
            archive.unlink()  # the next attempt must fetch it again
            raise
        archive.unlink()
    else:
        bad = _install_games(read_games(Path(source).expanduser()), write, home)
    if bad:
        raise UserError(
            f"{len(bad)} games or parts were left out (listed above), first {bad[0].name}: "
            f"get an undamaged copy and type `{_FROM if source else COMMAND}` to add them"
        )


def _install_games(parts: Iterable[Game | Damaged], write: Callable[[str], None], home: Path | None) -> list[Damaged]:
    """Put the official games among ``parts`` into the libraries; return the rest."""
    found: dict[str, dict[str, PackedGame]] = defaultdict(dict)
    bad: list[Damaged] = []
    for part in parts:
        if isinstance(part, Damaged):
            bad.append(part)
        elif part.id not in official_ids().get(part.split, ()):
            bad.append(Damaged(part.name, "wrong digest: not the official game of this split"))
        else:
            found[part.split][part.id] = pack(part)
            continue
        write(f"{bad[-1].name}: {bad[-1].reason}")
    for split, total in SPLITS.items():
        if split in found:
            new, have = _add(split, found[split], write, home)
            write(f"{split}: {have} of {total} official games installed, {new} of them new")
    if not found:
        raise UserError(f"nothing was installed: no official game among the {len(bad)} parts listed above")
    return bad


def _add(split: str, games: dict[str, PackedGame], write: Callable[[str], None], home: Path | None) -> tuple[int, int]:
    """Add games to the library of a split; return how many are new and how many it has now."""
    path = library_path(split, home)
    try:
        old = Library(path, repair="it is replaced") if path.exists() else None
    except UserError as error:
        write(str(error))
        old = None
    before = {entry.id: old.packed(index) for index, entry in enumerate(old.entries)} if old else {}
    merged = {**before, **games}
    if merged.keys() != before.keys() or any(merged[key] != before[key] for key in games):
        write_library(path, merged.values())
    return len(merged.keys() - before.keys()), len(merged)


def open_library(split: str, home: Path | None = None) -> Library:
    """Open the installed games of an official split.

    Raises:
        UserError: the split is not installed, or its file is damaged.
    """
    path = library_path(split, home)
    if not path.exists():
        raise UserError(f"the ALFWorld split {split!r} is not installed: type `{COMMAND}{_copy_at_hand()}`")
    return Library(path, repair=f"type `{COMMAND}` to install it again")


def _copy_at_hand() -> str:
    """Return the option that installs from the data of the alfworld package, where the user has them."""
    folder = Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser() / "json_2.1.1"
    return f" --from {folder}" if folder.is_dir() else ""
