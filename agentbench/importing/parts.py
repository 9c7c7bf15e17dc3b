"""What every reader shares: the lines of a file, one at a time, and what is said of a part that cannot be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentbench.episodes import Episode

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
    """

    success_at: float = 1.0
    anchor: Literal["observation", "history"] = "observation"
    scorer: str | None = None


Part = Episode | Bad


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | Bad]]:
    """Yield ``(file:line, record)`` of a file of one JSON object a line; a line that is none comes as :class:`Bad`.

    Empty lines are passed over. No line longer than :data:`MAX_BYTES` is held in memory. A file that is one list of
    objects is read too, as ``(file[index], record)``.
    """
    if is_list(path):
        yield from _read_list(path)
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_BYTES):
            number += 1
            where = f"{path.name}:{number}"
            if len(line) == MAX_BYTES and not line.endswith(b"\n"):
                yield where, Bad(where, f"longer than {MAX_BYTES} bytes; the rest of the file is not read")
                return
            if line.strip():
                try:
                    yield where, parse_object(line)
                except BadPartError as error:
                    yield where, Bad(where, str(error))


def is_list(path: Path) -> bool:
    """Tell whether a file named ``….json`` holds a list."""
    if path.suffix != ".json":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"[")


def _read_list(path: Path) -> Iterator[tuple[str, dict[str, Any] | Bad]]:
    if path.stat().st_size > MAX_BYTES:
        yield path.name, Bad(path.name, f"longer than {MAX_BYTES} bytes: write one object a line, as .jsonl")
        return
    try:
        records = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        yield path.name, Bad(path.name, f"not JSON ({error})")
        return
    for index, record in enumerate(records):
        where = f"{path.name}[{index}]"
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
    except ValueError as error:
        raise BadPartError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise BadPartError(f"not a JSON object but {type(value).__name__}")
    return value


def read_part(where: str, make: Callable[[], Episode]) -> Part:
    """Return what ``make`` makes, or why it cannot."""
    try:
        return make()
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
