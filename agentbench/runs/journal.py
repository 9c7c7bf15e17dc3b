"""The journal of a run: ``episodes.jsonl``, one finished episode a line, which only grows and repairs itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentbench.runs.episodes import Episode, Key, from_line
from envs.base.files import replaced
from envs.base.log import log

EPISODES_FILE = "episodes.jsonl"


def repair(path: Path) -> dict[Key, str]:
    """Read the keys of all finished episodes; cut a torn last line, set damaged ones aside, warn of both."""
    finished: dict[Key, str] = {}
    if not path.exists():
        return finished
    damaged: list[int] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("torn")
                episode = from_line(line)
            except ValueError:
                damaged.append(number)
            else:
                finished[episode.key] = episode.outcome
    if damaged:
        listed = ", ".join(map(str, damaged[:5])) + (", …" if len(damaged) > 5 else "")
        log.warning(
            "%s: %d damaged or torn line(s) (line %s) were cut out; these episodes are played again",
            path, len(damaged), listed,
        )  # fmt: skip
        bad = set(damaged)
        with replaced(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
            new.writelines(line for number, line in enumerate(old, 1) if number not in bad)
    return finished


def read_sorted(path: Path) -> Iterator[Episode]:
    """Yield the finished episodes sorted by key, the last line of a key winning, one in memory at a time.

    Damaged lines are skipped: they count as not finished.
    """
    offsets: dict[Key, int] = {}
    if not path.exists():
        return
    with path.open("rb") as file:
        position = 0
        for line in file:
            try:
                offsets[from_line(line).key] = position
            except ValueError:
                log.warning("%s: a damaged line at byte %d is skipped", path, position)
            position += len(line)
        for _, offset in sorted(offsets.items()):
            file.seek(offset)
            yield from_line(file.readline())
