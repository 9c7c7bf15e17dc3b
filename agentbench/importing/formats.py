"""What a format is, and how one is made of a function that turns a record into a chat record.

A package adds formats by the entry-point group ``agentbench.importers``, whose entries name a :class:`Format`; most are
made by :func:`from_records`. The formats of this project are made in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import episode_of, with_named_fields
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, read_part

Record = Mapping[str, Any]
Reader = Callable[[Path, Options], Iterator[Part]]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of log.

    Attributes:
        read: yields the episodes of one file.
        matches: says whether a record is of this kind.
        takes_fields: whether ``--reward`` and its like name fields of its records.
    """

    read: Reader
    matches: Callable[[Record], bool]
    takes_fields: bool = False


def from_records(matches: Callable[[Record], bool], to_chat: Callable[[Record], Record | Iterable[Record]]) -> Format:
    """Make a format of records that become chat records (:mod:`agentbench.importing.chat`).

    Args:
        matches: says whether a record (a JSON object, a row of a table) is of this kind, by what no other kind has.
        to_chat: returns the chat record of a record, or several where it holds several episodes: ``messages``, one of
            ``reward``, ``rewards``, ``success``, ``score`` and ``error``, and perhaps ``task_id`` and ``model``. What
            it raises becomes the reason why the record is left out.
    """

    def read(path: Path, options: Options) -> Iterator[Part]:
        for where, record in read_records(path):
            if isinstance(record, Bad):
                yield record
                continue
            try:
                found = to_chat(record)
                chats = [found] if isinstance(found, Mapping) else list(found)
            except BadPartError as error:
                yield Bad(where, str(error))
                continue
            except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
                yield Bad(where, f"it is not of this format ({type(error).__name__}: {error!s:.80})")
                continue
            for index, chat in enumerate(chats):
                place = where if len(chats) == 1 else f"{where} [{index}]"
                yield read_part(place, partial(_episode, dict(chat), record, options))

    return Format(read, matches, takes_fields=True)


def _episode(chat: dict[str, Any], record: Record, options: Options) -> Read:
    return episode_of(with_named_fields(chat, record, options), options)
