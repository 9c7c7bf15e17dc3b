"""Schemes of other packages: the entry points of the group ``agentbench.schemes``.

The names come from the packages' metadata, without importing any of them; a scheme is imported when it is asked for by
name, or when all are listed. One that cannot be used is named, and the others continue.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from importlib.metadata import EntryPoint

from credit.scheme import Scheme, describe
from credit.steps import CreditError

GROUP = "agentbench.schemes"

log = logging.getLogger("agentbench")


class SchemeTable(MutableMapping[str, Scheme]):
    """Name -> scheme: ours, whose names no plug-in can take, and those of the plug-ins."""

    def __init__(self, own: Mapping[str, Scheme]) -> None:
        self._schemes = dict(own)
        self._own = frozenset(own)
        self._warned: set[str] = set()

    @cached_property
    def plugins(self) -> Mapping[str, list[EntryPoint]]:
        """The plug-ins by name, none of them imported; more than one of a name is a clash."""
        found: dict[str, list[EntryPoint]] = defaultdict(list)
        for point in importlib.metadata.entry_points(group=GROUP):
            found[point.name].append(point)
        for name in self._own & found.keys():
            self._warn(name, f"{_where(found.pop(name))} is refused: there is a scheme {name!r} already")
        return dict(sorted(found.items()))

    def __getitem__(self, name: str) -> Scheme:
        """Return a scheme.

        Raises:
            KeyError: there is none of that name.
            CreditError: there is a plug-in of that name, and it cannot be used.
        """
        if name not in self._schemes:
            self._schemes[name] = _load(name, self.plugins[name])
        return self._schemes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._schemes or name in self.plugins

    def __setitem__(self, name: str, scheme: Scheme) -> None:
        self._schemes[name] = scheme

    def __delitem__(self, name: str) -> None:
        del self._schemes[name]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        """Yield ours first, then the plug-ins that can be used; warn once of every other."""
        for name in [*self._schemes, *(name for name in self.plugins if name not in self._schemes)]:
            try:
                self[name]
            except CreditError as error:
                self._warn(name, str(error))
            else:
                yield name

    def _warn(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s", text)


def _load(name: str, points: list[EntryPoint]) -> Scheme:
    where = _where(points)
    if len(points) > 1:
        raise CreditError(f"{where} both name their scheme {name!r}: remove one of the packages")
    try:
        function = points[0].load()
        if not hasattr(function, "scheme_facts"):
            raise TypeError(f"{points[0].value} is no function with the decorator credit.scheme.scheme")
        if function.__name__ != name:
            raise TypeError(f"the function is called {function.__name__!r}, and the entry point {name!r}")
        return describe(function)
    except Exception as error:  # whatever a stranger's module raises: named here, and no end of the program
        text = f"{type(error).__name__}: {error}"
        raise CreditError(f"{where} cannot be used: {text}; fix or uninstall the package") from error


def _where(points: list[EntryPoint]) -> str:
    named = (
        f"plug-in {point.name!r} ({point.value}"
        + (f", package {point.dist.name} {point.dist.version})" if point.dist else ")")
        for point in points
    )
    return " and ".join(sorted(named))
