"""Our own record of an episode in the log of a harness that played one of our environments.

``agentbench.integrations.chat_episode`` makes it; Inspect keeps it with a sample's metadata, verifiers with a trace's
``info``, under the name ``agentbench``. It is the episode as a run has it, so nothing need be guessed from messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentbench.importing.conversation import stored
from agentbench.importing.parts import BadPartError, Options, Read
from agentbench.runs.episodes import Episode, from_record, without_halves
from envs.base.errors import UserError


def own_episode(
    ours: Mapping[str, Any], options: Options, *, error: str | None, truncated: bool, model: str | None
) -> Read | None:
    """Return the episode that a log of ours records; None where it has no record, or other options than ours are asked.

    Args:
        ours: what stands under ``agentbench``.
        options: how logs are read; with a scorer, score, task field or anchor the log itself is read.
        error: what failed, where the harness says so.
        truncated: whether the harness stopped it.
        model: who played.

    Raises:
        BadPartError: the record is none.
    """
    asked = options.scorer, options.score, options.task_field
    record = ours.get("episode")
    if record is None or any(each is not None for each in asked) or options.anchor != "observation":
        return None
    if not isinstance(record, dict):
        raise BadPartError("its record of the episode is not an object")
    try:
        episode = from_record(without_halves(record))
    except (ValueError, UserError, RecursionError) as fault:
        raise BadPartError(f"its record of the episode cannot be read: {fault}") from None
    if not 0.0 <= episode.score <= 1.0:
        raise BadPartError(f"the score {episode.score:g} is not between 0 and 1")
    _end(episode, error, truncated, options)
    env, protected = ours.get("env"), ours.get("protected", "")
    return Read(
        "", episode, model, played=env if isinstance(env, str) else None, protected=str(protected) if protected else ""
    )


def _end(episode: Episode, error: str | None, truncated: bool, options: Options) -> None:
    """Let the harness have the last word on an error or a stop that came after the record."""
    if error is not None and episode.error is None:
        episode.error = stored(error, options)
        episode.outcome, episode.won, episode.score = "error", False, 0.0
    if truncated and episode.steps and not episode.steps[-1].terminated:
        episode.steps[-1].truncated = True
