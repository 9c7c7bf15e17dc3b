"""The finished episodes of a run as lines: to count them, to look into them, to change them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from envs.base.journal import PACKED, PLAIN, journal_of, lines, packed


def stored(folder: Path) -> list[bytes]:
    """Return the whole lines, each with its end."""
    return list(lines(journal_of(folder)))


def store(folder: Path, changed: Iterable[bytes]) -> None:
    """Put lines in the place of those that are there."""
    path = journal_of(folder)
    path.write_bytes(b"".join(packed(line, path) for line in changed))


def unpack(folder: Path) -> Path:
    """Make the journal one of plain lines, as ``gunzip`` does."""
    (folder / PLAIN).write_bytes(b"".join(stored(folder)))
    (folder / PACKED).unlink()
    return folder / PLAIN
