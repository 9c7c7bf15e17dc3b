"""What generated houses are made after: facts and counts of the official train games (``house_tables.json``)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple


class Frequency(NamedTuple):
    """How often a type of thing occurs in a kind of room.

    Attributes:
        share: part of the games in such a room that have at least one.
        least, most, mean: how many, in the games that have one.
    """

    share: float
    least: int
    most: int
    mean: float


@dataclass(frozen=True, slots=True)
class Room:
    """One kind of room: kitchen, living room, bedroom or bathroom.

    Attributes:
        shared_locations: part of the receptacles that stand where another one stands.
        receptacles: receptacle type -> how often.
        objects: object type -> how often, counting only those in a receptacle.
        placements: object type -> receptacle type -> number of such objects found in one at the start.
    """

    shared_locations: float
    receptacles: dict[str, Frequency]
    objects: dict[str, Frequency]
    placements: dict[str, dict[str, int]]


class Target(NamedTuple):
    """What a task is about.

    Attributes:
        room: kind of room.
        object: type of object.
        place: type of receptacle to put it in; for the lamp task, type of lamp.
        games: number of official train games about it.
    """

    room: str
    object: str
    place: str
    games: int


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables; types are written as in the official problems, without their ending ``Type``.

    Attributes:
        rooms: kind of room -> its table.
        targets: task type (``Pick``...) -> what such tasks are about.
        can_contain: receptacle type -> object types that may be put there.
        properties: predicate (``cleanable``...) -> object types that have it.
        openable: receptacle type -> part of the receptacles of this type that open and close.
        object_types, receptacle_types: every type that a problem declares.
    """

    rooms: dict[str, Room]
    targets: dict[str, tuple[Target, ...]]
    can_contain: dict[str, tuple[str, ...]]
    properties: dict[str, frozenset[str]]
    openable: dict[str, float]
    object_types: tuple[str, ...]
    receptacle_types: tuple[str, ...]


@lru_cache(maxsize=1)
def house_tables() -> Tables:
    """Return the tables, read once."""
    content = json.loads((files("envs.alfworld") / "house_tables.json").read_text(encoding="utf-8"))
    return Tables(
        rooms={name: _room(room) for name, room in content["rooms"].items()},
        targets={kind: tuple(Target(*row) for row in rows) for kind, rows in content["targets"].items()},
        can_contain={kind: tuple(types) for kind, types in content["can_contain"].items()},
        properties={name: frozenset(types) for name, types in content["properties"].items()},
        openable=content["openable"],
        object_types=tuple(content["object_types"]),
        receptacle_types=tuple(content["receptacle_types"]),
    )


def _room(content: dict[str, Any]) -> Room:
    return Room(
        shared_locations=content["shared_locations"],
        receptacles={kind: Frequency(*row) for kind, row in content["receptacles"].items()},
        objects={kind: Frequency(*row) for kind, row in content["objects"].items()},
        placements=content["placements"],
    )
