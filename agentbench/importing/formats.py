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
        takes_fields: whether ``--reward`` and its like name fields of its records, and ``--outcomes`` may say the rest.
        files: endings of the names of files that only this format has; in a folder with such a file, it is its format.
        protected: why such episodes may not be passed on in the open; empty where they may.
    """

    read: Reader
    matches: Callable[[Record], bool]
    takes_fields: bool = False
    files: tuple[str, ...] = ()
    protected: str = ""


def from_records(
    matches: Callable[[Record], bool],
    to_chat: Callable[[Record], Record | Iterable[Record]],
    *,
    files: tuple[str, ...] = (),
) -> Format:
    """Make a format of records that become chat records (:mod:`agentbench.importing.chat`).

    Args:
        matches: says whether a record (a JSON object, a row of a table) is of this kind, by what no other kind has.
        to_chat: returns the chat record of a record, or several where it holds several episodes: ``messages``, one of
            ``reward``, ``rewards``, ``success``, ``score`` and ``error``, and perhaps ``task_id`` and ``model``. What
            it raises becomes the reason why the record is left out.
        files: see :class:`Format`.
    """

    def read(path: Path, options: Options) -> Iterator[Part]:
        for where, record in read_records(path):
            if isinstance(record, Bad):
                yield record
            else:
                yield from _parts(where, path, partial(to_chat, record), record, options)

    return Format(read, matches, takes_fields=True, files=files)


def from_groups(
    matches: Callable[[Record], bool],
    key: Callable[[Record], str | None],
    to_chat: Callable[[list[Record]], Record | None],
    *,
    files: tuple[str, ...] = (),
) -> Format:
    """Make a format in which several records of a file, such as events, make one episode.

    Args:
        matches: says whether a record is of this kind.
        key: names the episode that a record belongs to; None for a record that is an episode by itself.
        to_chat: returns the chat record of the records of an episode, in the order of the file; None where there is
            no episode in them. What it raises becomes the reason why they are left out.
        files: see :class:`Format`.
    """

    def read(path: Path, options: Options) -> Iterator[Part]:
        groups: dict[str, list[Record]] = {}
        is_known = False
        for where, record in read_records(path):
            if isinstance(record, Bad):
                yield record
                continue
            is_known = is_known or matches(record)
            if (name := key(record)) is None:
                yield from _parts(where, path, partial(to_chat, [record]), record, options)
            else:
                groups.setdefault(name, []).append(record)
        if groups and not is_known:
            yield Bad(path.name, "nothing in it is of this format: it has no record that the format has")
            return
        for name, records in groups.items():
            place = path.name if len(groups) == 1 else f"{path.name} {name:.40}"
            yield from _parts(place, path, partial(to_chat, records), records[0], options)

    return Format(read, matches, takes_fields=True, files=files)


def _parts(
    where: str,
    path: Path,
    make: Callable[[], Record | Iterable[Record] | None],
    record: Record,
    options: Options,
) -> Iterator[Part]:
    try:
        found = make()
        chats = [] if found is None else [found] if isinstance(found, Mapping) else list(found)
    except BadPartError as error:
        yield Bad(where, str(error))
        return
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        yield Bad(where, f"it is not of this format ({type(error).__name__}: {error!s:.80})")
        return
    for index, chat in enumerate(chats):
        place = where if len(chats) == 1 else f"{where} [{index}]"
        yield read_part(place, partial(_episode, dict(chat), record, path, options))


def _episode(chat: dict[str, Any], record: Record, path: Path, options: Options) -> Read:
    return episode_of(with_named_fields(chat, record, options, path), options)
