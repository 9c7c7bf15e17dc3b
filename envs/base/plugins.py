"""Plug-ins: entries of our tables that other packages provide, found by their entry points.

A table knows the names of the plug-ins from the installed packages' metadata, without importing any of them. One is
imported when it is asked for by name, or when all entries are listed; one that cannot be used is named, and the others
continue.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Generic, TypeVar

from envs.base.errors import UserError, error_line
from envs.base.log import log

Entry = TypeVar("Entry")

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class PluginTable(MutableMapping[str, Entry], Generic[Entry]):
    """Name -> entry: ours, and those of the plug-ins of an entry-point group.

    Args:
        kind: what an entry is, in words (``"environment"``).
        group: the entry-point group (``"agentbench.environments"``).
        own: our entries, whose names no plug-in can take.
        read: makes an entry of an entry point that was found, importing what it names; raises TypeError when that is
            something else.

    Attributes:
        own: the names of our entries.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, Entry], read: Callable[[EntryPoint], Entry]) -> None:
        self.kind, self.group = kind, group
        self._entries = dict(own)
        self._own = frozenset(own)
        self.own = tuple(own)
        self._read = read
        self._warned: set[str] = set()

    @cached_property
    def plugins(self) -> Mapping[str, list[EntryPoint]]:
        """The plug-ins by name, none of them imported; more than one of a name is a clash."""
        found: dict[str, list[EntryPoint]] = defaultdict(list)
        for point in importlib.metadata.entry_points(group=self.group):
            found[point.name].append(point)
        for name in self._own & found.keys():
            self._warn(name, f"{_where(found.pop(name))} is refused: there is {self.kind} {name!r} already")
        return dict(sorted(found.items()))

    def usable_names(self) -> list[str]:
        """Return the names of the plug-ins that have a good one, none of them imported."""
        return [name for name, points in self.plugins.items() if len(points) == 1 and _NAME.fullmatch(name)]

    def __getitem__(self, name: str) -> Entry:
        """Return an entry.

        Raises:
            KeyError: there is none of that name.
            UserError: there is a plug-in of that name, and it cannot be used.
        """
        if name not in self._entries:
            self._entries[name] = self._load(name, self.plugins[name])
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.plugins

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        """Yield ours first, then the plug-ins that can be used; warn once of every other."""
        for name in [*self._entries, *(name for name in self.plugins if name not in self._entries)]:
            try:
                self[name]
            except UserError as error:
                self._warn(name, str(error))
            else:
                yield name

    @contextmanager
    def used(self, name: str) -> Iterator[None]:
        """Turn what the plug-in called ``name`` raises inside into a UserError that says which one it was, and where.

        What one of our own entries raises is left as it is.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if name not in self.plugins:
                raise
            raise UserError(f"{_where(self.plugins[name])} failed: {error_line(error)}") from error

    def _load(self, name: str, points: list[EntryPoint]) -> Entry:
        where = _where(points)
        if len(points) > 1:
            raise UserError(f"{where} both name their {self.kind} {name!r}: remove one of the packages")
        if not _NAME.fullmatch(name):
            raise UserError(f"{where} cannot be used: a name has small letters, digits, - and _, not {name!r}")
        try:
            return self._read(points[0])
        except Exception as error:  # whatever a stranger's module raises: named here, and no end of the program
            text = f"{type(error).__name__}: {error}"
            raise UserError(f"{where} cannot be used: {text}; fix or uninstall the package") from error

    def _warn(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s", text)


def _where(points: list[EntryPoint]) -> str:
    named = (
        f"plug-in {point.name!r} ({point.value}"
        + (f", package {point.dist.name} {point.dist.version})" if point.dist else ")")
        for point in points
    )
    return " and ".join(sorted(named))
