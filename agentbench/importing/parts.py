"""What every reader shares: the lines of a file, one at a time, and what is said of a part that cannot be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from agentbench.runs.episodes import MAX_TEXT, Episode

MAX_BYTES = 1 << 28
"""Longest line or member of an archive that is read, in bytes (256 MB): what is longer is no episode."""


class BadPartError(Exception):
    """A part of a file is not an episode; the text says why."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A part that was left out.

    Attributes:
        where: file, and line or member.
        reason: what is wrong with it.
    """

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Options:
    """How logs are read.

    Attributes:
        success_at: an episode whose log says nothing of success succeeded with a reward of at least this.
        anchor: what counts as the same situation: the same last ``observation``, or the same whole ``history``.
        scorer: the scorer of an Inspect log that counts; None for the first that gives a number.
        score: the value that counts where a log gives several under names; columns of TRL with commas between.
        task_field: the field of a record that identifies its task; ``messages`` for its first user message; None
            for the field that the format has for it.
        model: read this model's episodes alone, where a log has several.
        max_text: longest text that is stored whole, in characters.
        messages_field, reward_field, success_field, model_field: the fields of a chat record that hold these, where
            they have other names; a name with dots leads into objects.
        outcomes: a file that says how the episodes ended (:mod:`agentbench.importing.outcomes`).
    """

    success_at: float = 1.0
    anchor: Literal["observation", "history"] = "observation"
    scorer: str | None = None
    score: str | None = None
    task_field: str | None = None
    model: str | None = None
    max_text: int = MAX_TEXT
    messages_field: str | None = None
    reward_field: str | None = None
    success_field: str | None = None
    model_field: str | None = None
    outcomes: Path | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The fields that were named, by the name that is read."""
        named = {
            "messages": self.messages_field,
            "reward": self.reward_field,
            "success": self.success_field,
            "model": self.model_field,
        }
        return {name: field for name, field in named.items() if field is not None}


@dataclass(frozen=True, slots=True)
class Read:
    """An episode that was read, and what its log says beside it.

    Attributes:
        where: file, and line or member.
        episode: the episode.
        model: the model that played it, if the log says so.
        env: the environment, where the log's ids name tasks within one alone.
        played: short name of the environment of ours that was played, if it was one and the log says so.
        protected: why the episode may not be passed on in the open; empty where it may.
        opening: hash of all that the agent saw before it first acted.
        went_on: hash of the opening and the first action, and of what was seen then.
        is_named: whether the log identifies the task; else its first user message made the id.
        by_message: the task's id as the first user message would make it, where a record's ``id`` made it.
        same_as: names that two copies of one sample share (of a log and of its retry).
        created: when the log was made, as text that sorts.
    """

    where: str
    episode: Episode
    model: str | None = None
    env: str | None = None
    played: str | None = None
    protected: str = ""
    opening: str = ""
    went_on: tuple[str, str] | None = None
    is_named: bool = True
    by_message: str = ""
    same_as: tuple[str, ...] = ()
    created: str = ""


Part = Read | Bad


def plain_list(name: str, records: list[Any]) -> Iterator[tuple[str, dict[str, Any] | Bad]]:
    """Yield ``(place, record)`` of a list; what is no object comes as :class:`Bad`."""
    for index, record in enumerate(records):
        where = f"{name}[{index}]"
        is_object = isinstance(record, dict)
        yield where, record if is_object else Bad(where, f"not a JSON object but {type(record).__name__}")


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        BadPartError: it is not JSON, not an object, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise BadPartError("nested too deeply") from None
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(error.doc.rstrip()) - 1 or error.msg.startswith("Unterminated")
        cut = " — it ends in the middle" if at_end and error.pos else ""
        raise BadPartError(f"not JSON ({error.msg} at column {error.colno}{cut})") from None
    except UnicodeDecodeError as error:
        raise BadPartError(f"not JSON (not UTF-8 text: byte 0x{text[error.start]:02x})") from None
    except ValueError as error:  # a number of too many digits
        raise BadPartError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BadPartError(f"not a JSON object but {type(value).__name__}")
    return value


def read_part(where: str, make: Callable[[], Read]) -> Part:
    """Return what ``make`` reads, or why it cannot."""
    try:
        return replace(make(), where=where)
    except BadPartError as error:
        return Bad(where, str(error))
    except RecursionError:
        return Bad(where, "nested too deeply")


def number(value: object, what: str) -> float:
    """Return a finite number (true counts as 1).

    Raises:
        BadPartError: it is none.
    """
    if not isinstance(value, (bool, int, float)):
        raise BadPartError(f"{what} is not a number but {value!r:.60}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise BadPartError(f"{what} is not finite")
    return found


_NO_ERROR = (
    "",
    "none",
    "null",
    "nil",
    "false",
    "no",
    "no error",
    "ok",
    "success",
    "n/a",
    "na",
    "nan",
    "0",
    "undefined",
)


def stated_error(value: object) -> str | None:
    """Return the error that a field states; None for all the ways to say that there was none.

    ``false``, ``null``, ``0``, an empty text, list or object, ``"none"`` and the like say that there was none.
    """
    if value is None or value is False or value == 0 or (isinstance(value, str) and value.strip().lower() in _NO_ERROR):
        return None
    if value is True:
        return "the log says that it failed, and not why"
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        told = next((value[name] for name in _TOLD if stated_error(value.get(name))), None)
        if told is None and all(stated_error(each) is None for each in value.values()):
            return None
        return told if isinstance(told, str) else json.dumps(value if told is None else told, ensure_ascii=False)
    if isinstance(value, list):
        stated = [each for each in map(stated_error, value) if each is not None]
        return stated[-1] if stated else None
    return str(value)


_TOLD = ("error_chain_repr", "message", "error", "detail", "msg", "text", "type")


def name_of(value: object, field: str) -> str | None:
    """Return a name: text or a whole number; None where there is none.

    Raises:
        BadPartError: it is of another kind.
    """
    if value is not None and (not isinstance(value, (str, int)) or isinstance(value, bool)):
        raise BadPartError(f"{field} is text or a whole number, got {value!r:.40}")
    return None if value is None or value == "" else str(value)
