"""Reading a PDDL problem: the house of a game (what never changes in it) and the state at its start.

Sets of objects and of receptacles are Python integers used as bit sets: bit ``i`` stands for the ``i``-th
object or receptacle in the order of the sorted ids, which is also the order of all lists in the game's texts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from envs.alfworld.games import BadGameError

KEPT = 128
"""Games that a process keeps ready, of less than 100 KB each: the tasks of a batch come again with every trial."""

NOTHING = -1
"""Stands for no object in the agent's hands."""

Facts = dict[str, list[tuple[str, ...]]]

_FACT = re.compile(r"\(([^()=]+)\)")


def bits(members: int) -> Iterator[int]:
    """Yield the members of a bit set in ascending order."""
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


class State(NamedTuple):
    """Everything that changes in a game. Immutable: a state is its own snapshot.

    Whether a lamp is on is left out: nothing in the game ever depends on it, only on whether it was used.

    Attributes:
        location: where the agent is.
        held: the object in its hands, or ``NOTHING``.
        inside: for each receptacle, the objects in it. An object can be in several at once.
        at: for each location, the objects there (kept apart from ``inside`` as the original does).
        taken: for each receptacle, the objects taken from it and not put back.
        opened: receptacles that are open.
        clean, hot, cool, sliced: objects that are so.
        used: lamps that were used at least once.
    """

    location: int
    held: int
    inside: tuple[int, ...]
    at: tuple[int, ...]
    taken: tuple[int, ...]
    opened: int
    clean: int
    hot: int
    cool: int
    sliced: int
    used: int


@dataclass(frozen=True, slots=True)
class House:
    """What never changes in a game.

    Attributes:
        objects: name of each object (``apple 1``), in the order of the sorted ids.
        object_types: type of each object, lower case without its ending ``type`` (``apple``).
        receptacles: name of each receptacle.
        receptacle_types: type of each receptacle (``countertop``).
        location_of: for each receptacle, its location.
        receptacles_at: for each location, its receptacles in ascending order.
        accepts: for each receptacle, the objects that may be moved there.
        contents: for each object, the objects in it (cups in a box); never changes.
        openable: bit set of receptacles.
        pickupable, cleanable, heatable, coolable, sliceable, toggleable, containers: bit sets of objects.
        start: the state at the start.
    """

    objects: tuple[str, ...]
    object_types: tuple[str, ...]
    receptacles: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    location_of: tuple[int, ...]
    receptacles_at: tuple[tuple[int, ...], ...]
    accepts: tuple[int, ...]
    contents: tuple[int, ...]
    openable: int
    pickupable: int
    cleanable: int
    heatable: int
    coolable: int
    sliceable: int
    toggleable: int
    containers: int
    start: State

    def objects_of_type(self, *types: str) -> int:
        """Return the bit set of the objects of these types."""
        return sum(1 << o for o, kind in enumerate(self.object_types) if kind in types)

    def receptacles_of_type(self, *types: str) -> int:
        """Return the bit set of the receptacles of these types."""
        return sum(1 << r for r, kind in enumerate(self.receptacle_types) if kind in types)


@lru_cache(maxsize=KEPT)
def read_house(problem: str) -> House:
    """Read the house from the text of a PDDL problem; the last ones are kept, since nothing changes them.

    Raises:
        BadGameError: the facts do not describe a house that can be played.
    """
    facts = _read_facts(problem)
    names = _display_names({word for group in facts.values() for words in group for word in words})
    objects, receptacles, locations = _number_things(facts)
    place_of = _mapping(facts["receptacleatlocation"], "receptacle", "location")
    if nowhere := set(receptacles.ids) - set(place_of):
        raise BadGameError(f"receptacle {min(nowhere)} has no location")
    location_of = tuple(locations[place_of[r]] for r in receptacles.ids)
    object_types = _types(facts["objecttype"], objects.ids, "object")
    receptacle_types = _types(facts["receptacletype"], receptacles.ids, "receptacle")
    return House(
        objects=tuple(names[o] for o in objects.ids),
        object_types=object_types,
        receptacles=tuple(names[r] for r in receptacles.ids),
        receptacle_types=receptacle_types,
        location_of=location_of,
        receptacles_at=tuple(
            tuple(r for r, place in enumerate(location_of) if place == here) for here in range(len(locations.ids))
        ),
        accepts=_accepts(facts["cancontain"], receptacle_types, object_types),
        contents=_relation(facts["inreceptacleobject"], objects, objects),
        openable=receptacles.set_of(facts["openable"]),
        pickupable=objects.set_of(facts["pickupable"]),
        cleanable=objects.set_of(facts["cleanable"]),
        heatable=objects.set_of(facts["heatable"]),
        coolable=objects.set_of(facts["coolable"]),
        sliceable=objects.set_of(facts["sliceable"]),
        toggleable=objects.set_of(facts["toggleable"]),
        containers=objects.set_of(facts["isreceptacleobject"]),
        start=_read_start(facts, objects, receptacles, locations),
    )


def _number_things(facts: Facts) -> tuple[_Numbering, _Numbering, _Numbering]:
    """Number the objects, the receptacles and the locations that the facts speak of."""
    objects = {words[0] for kind in _OBJECT_FACTS for words in facts[kind]}
    receptacles = {words[0] for kind in _RECEPTACLE_FACTS for words in facts[kind]}
    locations = {words[1] for kind in _LOCATION_FACTS for words in facts[kind]}
    objects |= {words[1] for words in facts["inreceptacleobject"]}
    receptacles |= {words[1] for words in facts["inreceptacle"]}
    if not (objects and receptacles):
        raise BadGameError("the house has no receptacle or no object")
    return _Numbering(objects), _Numbering(receptacles), _Numbering(locations)


def _read_start(facts: Facts, objects: _Numbering, receptacles: _Numbering, locations: _Numbering) -> State:
    """Read the state at the start."""
    if len(facts["atlocation"]) != 1 or facts["holds"]:
        raise BadGameError("the agent must start at one location with empty hands")
    return State(
        location=locations[facts["atlocation"][0][1]],
        held=NOTHING,
        inside=_relation(facts["inreceptacle"], receptacles, objects),
        at=_relation(facts["objectatlocation"], locations, objects),
        taken=(0,) * len(receptacles.ids),
        opened=receptacles.set_of(facts["opened"]),
        clean=objects.set_of(facts["isclean"]),
        hot=objects.set_of(facts["ishot"]),
        cool=objects.set_of(facts["iscool"]),
        sliced=objects.set_of(facts["issliced"]),
        used=objects.set_of(facts["istoggled"]),
    )


_OBJECT_FACTS = (
    *("objecttype", "inreceptacle", "objectatlocation", "inreceptacleobject", "pickupable", "cleanable"),
    *("heatable", "coolable", "sliceable", "toggleable", "isreceptacleobject", "isclean", "ishot", "iscool"),
    *("issliced", "istoggled", "ison"),
)
_RECEPTACLE_FACTS = ("receptacletype", "receptacleatlocation", "openable", "opened")
_LOCATION_FACTS = ("atlocation", "receptacleatlocation", "objectatlocation")


class _Numbering:
    """Ids in sorted order, and the position of each."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(sorted(ids))
        self._position = {key: position for position, key in enumerate(self.ids)}

    def __getitem__(self, key: str) -> int:
        return self._position[key]

    def set_of(self, facts: Iterable[tuple[str, ...]]) -> int:
        return sum(1 << self._position[key] for key in {words[0] for words in facts})


def _read_facts(problem: str) -> Facts:
    """Split the text between ``(:init`` and ``(:goal`` into facts by predicate, all in lower case."""
    text = problem.lower()
    _, found_start, text = text.partition("(:init")
    text, found_goal, _ = text.partition("(:goal")
    if not (found_start and found_goal):
        raise BadGameError("its PDDL problem has no (:init ...) or no (:goal ...)")
    facts: Facts = defaultdict(list)
    for match in _FACT.finditer(text):
        predicate, *words = match.group(1).split()
        if predicate in _ARITY and len(words) != _ARITY[predicate]:
            raise BadGameError(f"the fact ({match.group(1)}) must have {_ARITY[predicate]} arguments")
        facts[predicate].append(tuple(words))
    return facts


_ARITY = {
    **dict.fromkeys(_OBJECT_FACTS + _RECEPTACLE_FACTS, 1),
    **dict.fromkeys(("objecttype", "receptacletype", "cancontain", "inreceptacle", "inreceptacleobject"), 2),
    **dict.fromkeys(("atlocation", "objectatlocation", "receptacleatlocation", "holds"), 2),
}


def _display_names(ids: set[str]) -> dict[str, str]:
    """Give every id its name and number: of equal names, the first sorted id gets the highest number."""
    words = {key: key.partition("_bar_")[0] + ("basin" if "basin" in key else "") for key in ids if "_bar_" in key}
    left = Counter(words.values())
    names = {}
    for key in sorted(ids):
        if key in words:
            names[key] = f"{words[key]} {left[words[key]]}"
            left[words[key]] -= 1
        else:
            names[key] = f"{key} "  # the original leaves the space where the number would be
    return names


def _mapping(facts: list[tuple[str, ...]], kind: str, value: str) -> dict[str, str]:
    """Turn pairs into a mapping; no key may have two values."""
    pairs = {(words[0], words[1]) for words in facts}
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise BadGameError(f"a {kind} has more than one {value}")
    return mapping


def _types(facts: list[tuple[str, ...]], keys: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Type of each id, lower case, without its ending; empty where none is stated (cracked eggs)."""
    mapping = _mapping(facts, kind, "type")
    return tuple(mapping.get(key, "").removesuffix("type") for key in keys)


def _relation(facts: list[tuple[str, ...]], holders: _Numbering, members: _Numbering) -> tuple[int, ...]:
    """Turn facts (member, holder) into one bit set of members for each holder."""
    sets = [0] * len(holders.ids)
    for member, holder in facts:
        sets[holders[holder]] |= 1 << members[member]
    return tuple(sets)


def _accepts(facts: list[tuple[str, ...]], receptacles: tuple[str, ...], objects: tuple[str, ...]) -> tuple[int, ...]:
    kinds: dict[str, set[str]] = defaultdict(set)
    for receptacle, kind in facts:
        kinds[receptacle.removesuffix("type")].add(kind.removesuffix("type"))
    taken = {
        receptacle: sum(1 << o for o, kind in enumerate(objects) if kind in kinds.get(receptacle, ()))
        for receptacle in set(receptacles)
    }
    return tuple(taken[receptacle] for receptacle in receptacles)
