"""Plain chat logs: one episode a line, ``{"messages": […], "reward": 1.0}``.

``messages`` has the shape of the chat interface that most servers speak: ``role`` (system, user, assistant, tool),
``content`` (text or a list of parts), ``tool_calls``; or that of Anthropic (``tool_use`` and ``tool_result`` parts), or
that of ShareGPT (``from``, ``value``), whose files call the list ``conversations``. Further fields of a line, all
optional but one of the first five:

``reward``     the episode's reward, given to its last step
``rewards``    a number for every assistant message, instead
``success``    whether the task was solved
``score``      progress in [0, 1]
``error``      what failed, if it was not the agent
``task_id``    tells which episodes are rollouts of one task; else the first user message does
``task_name``, ``task_type``, ``truncated``
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.episodes import Episode
from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.parts import Bad, BadPartError, Options, Part, number, read_lines, read_part

LISTS = ("messages", "conversations", "conversation")
OUTCOMES = ("reward", "rewards", "success", "score", "error")


def read_chat(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every line, or why it is none."""
    for where, record in read_lines(path):
        yield record if isinstance(record, Bad) else read_part(where, partial(_episode, record, options))


def _episode(record: dict[str, Any], options: Options) -> Episode:
    messages = next((record[name] for name in LISTS if name in record), None)
    return make_episode(
        checked_messages(messages),
        ending_of(record),
        options,
        task_id=_name(record, "task_id"),
        task_name=_name(record, "task_name"),
        task_type=_name(record, "task_type") or "imported",
    )


def ending_of(record: dict[str, Any]) -> Ending:
    """Return how the episode of a line ended.

    Raises:
        BadPartError: the line does not say, or with values that cannot be.
    """
    if not any(record.get(name) is not None for name in OUTCOMES):
        raise BadPartError(f"nothing says how it ended: add one of {', '.join(OUTCOMES)} to each line")
    success, score, error = record.get("success"), record.get("score"), record.get("error")
    if success is not None and not isinstance(success, bool):
        raise BadPartError(f"success is true or false, got {success!r:.40}")
    score = None if score is None else number(score, "score")
    rewards: float | list[float]
    if isinstance(listed := record.get("rewards"), list):
        rewards = [number(reward, "a reward") for reward in listed]
    elif record.get("reward") is not None:
        rewards = number(record["reward"], "reward")
    elif score is not None:
        rewards = score
    else:
        rewards = float(bool(success))
    return Ending(rewards, success, score, record.get("truncated") is True, None if error is None else str(error))


def _name(record: dict[str, Any], field: str) -> str | None:
    value = record.get(field)
    if value is not None and not isinstance(value, (str, int)):
        raise BadPartError(f"{field} is text or a whole number, got {value!r:.40}")
    return None if value is None or value == "" else str(value)
