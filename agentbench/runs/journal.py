"""The journal of a run: one finished episode a line (:mod:`envs.base.journal`), which only grows and repairs itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from agentbench.runs.episodes import Episode, Key, from_line, key_of
from envs.base.files import replaced
from envs.base.journal import JOURNALS, journal_of, lines_of, packed, parts
from envs.base.log import log


def has_journal(folder: Path) -> bool:
    """Return whether a run has a journal, be it an empty one."""
    return any((folder / name).exists() for name in JOURNALS)


def repair(path: Path) -> dict[Key, str]:
    """Read the keys of all finished episodes; cut a torn last line, set damaged ones aside, warn of both."""
    finished: dict[Key, str] = {}
    damaged: list[int] = []
    kept: dict[int, bytes] = {}
    number = 0
    for part in parts(path):
        found, is_whole = lines_of(part.content, path)
        good = []
        for line in found:
            number += 1
            try:
                episode = from_line(line)
            except ValueError:
                damaged.append(number)
            else:
                finished[episode.key] = episode.outcome
                good.append(line)
        if not is_whole:
            number += 1
            damaged.append(number)
        if not is_whole or len(good) < len(found):
            kept[part.position] = b"".join(packed(line, path) for line in good)
    if damaged:
        listed = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        log.warning(
            "%s: %d damaged or torn line(s) (line %s) were cut out; these episodes are played again",
            path, len(damaged), listed,
        )  # fmt: skip
        with replaced(path) as temporary, temporary.open("wb") as new:
            new.writelines(kept.get(part.position, part.content) for part in parts(path))
    return finished


def read_sorted(folder: Path) -> Iterator[Episode]:
    """Yield a run's finished episodes sorted by key, the last line of a key winning, a few in memory at a time.

    Damaged lines are skipped: they count as not finished.
    """
    path = journal_of(folder)
    places: dict[Key, list[tuple[int, int, int]]] = defaultdict(list)
    for position, content in parts(path):
        found, is_whole = lines_of(content, path)
        for number, line in enumerate(found):
            try:
                places[key_of(line)].append((position, len(content), number))
            except ValueError:
                is_whole = False
        if not is_whole:
            log.warning("%s: a damaged line at byte %d is skipped", path, position)
    if not places:
        return
    lines, there = [b""], (-1, 0)
    with path.open("rb") as file:
        for _, offered in sorted(places.items()):
            for position, size, number in reversed(offered):
                if there != (position, size):  # a member of another program's making holds many
                    file.seek(position)
                    lines, there = lines_of(file.read(size), path)[0], (position, size)
                try:
                    yield from_line(lines[number])
                    break
                except (ValueError, IndexError):  # or cut out by who goes on with the run, since the keys were read
                    log.warning("%s: a damaged line at byte %d is skipped", path, position)
