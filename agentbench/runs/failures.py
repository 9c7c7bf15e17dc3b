"""What went wrong while playing: how many episodes ended in an error, and the commonest of the reasons."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentbench.runs.episodes import Episode, is_judged
from envs.base.errors import UserError

_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")
_LONGEST = 400
"""Characters of a reason that are shown."""


class NothingJudgedError(UserError):
    """All episodes ended in an error, so there is no result. Programs exit with code 1: the command was right."""

    exit_code = 1


def commonest(reasons: Sequence[str]) -> tuple[str, int]:
    """Return the commonest reason, as it was first given, and how often it is there.

    Args:
        reasons: at least one. Those that differ in numbers alone (a port, seconds, an address) are the same.
    """
    counts: dict[str, tuple[str, int]] = {}
    for reason in reasons:
        kind = _NUMBER.sub("0", reason)
        first, count = counts.get(kind, (reason, 0))
        counts[kind] = first, count + 1
    return max(counts.values(), key=lambda each: each[1])


def tell(reasons: Sequence[str], episodes: int) -> str:
    """Say in one line how many of ``episodes`` ended in an error (``reasons``: one for each), and the commonest."""
    reason, count = commonest(reasons)
    line = " ".join(reason.split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    return f"{len(reasons)} of {episodes} episodes ended in an error; the commonest ({count} times): {line}"


def tell_episodes(episodes: Sequence[Episode]) -> str | None:
    """Do the same for episodes; None where none ended in an error."""
    reasons = [episode.error or "no reason" for episode in episodes if not is_judged(episode.outcome)]
    return tell(reasons, len(episodes)) if reasons else None
